/** The configuration of `host-local`: where reservations are kept, and the sets of ranges to take addresses from. */
import { parseCniArgs } from "../../../cni/args.ts";
import { decodeAs, foldKeys, invalid, isObject, list, object, required, text } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { ResultRoute } from "../../../cni/result.ts";
import type { Ip } from "../../../net/ip.ts";
import { type Checked, checked, checkOneEach, demand, ipOrPrefix, optionalIp, routes } from "../decode.ts";
import { checkDisjoint, familyOf, makeSet, range, type RangeSet, rangeSet } from "./ranges.ts";
import { type Place, placeOf } from "./store.ts";

export interface HostLocalConfig {
  readonly place: Place;
  readonly pool: Checked<Pool>;
}
export interface Pool {
  /** An attachment gets one address of each. The position is the `N` of `last_reserved_ip.N`. */
  readonly sets: readonly [RangeSet, ...RangeSet[]];
  /** Addresses asked for by `args.cni.ips` and `runtimeConfig.ips`. */
  readonly requested: readonly Ip[];
  readonly routes: readonly ResultRoute[];
  /** Path of a resolv.conf whose content goes into the result. */
  readonly resolvConf?: string;
}

const DATA_DIR = "/var/lib/cni/networks";
const ips = list(ipOrPrefix);
export const options = object({
  ipam: required(
    object({
      subnet: text,
      rangeStart: optionalIp,
      rangeEnd: optionalIp,
      gateway: optionalIp,
      ranges: list(rangeSet),
      routes,
      resolvConf: text,
      dataDir: text,
    }),
  ),
  args: object({ cni: object({ ips }) }),
  runtimeConfig: object({ ipRanges: list(rangeSet), ips }),
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): HostLocalConfig {
  const config = parseForRemoval(conf);
  demand(config.pool);
  return config;
}

/** Never throws: where the reservations are is known even if nothing else can be used. */
export const parseForRemoval = (conf: NetConf): HostLocalConfig => ({
  place: placeOf(dataDirOf(conf), conf.name),
  pool: checked(() => parsePool(conf)),
});

function dataDirOf(conf: NetConf): string {
  const { ipam } = foldKeys(conf.raw, ["ipam"]);
  const { dataDir } = isObject(ipam) ? foldKeys(ipam, ["dataDir"]) : {};
  return typeof dataDir === "string" && dataDir !== "" ? dataDir : DATA_DIR;
}

function parsePool(conf: NetConf): Pool {
  const { ipam, args, runtimeConfig } = options(conf.raw, "");
  // The set that is written without a list comes before those of the list; the runtime's come before both.
  const single = ipam.subnet ? [makeSet("ipam", [range(foldKeys(conf.raw, ["ipam"]).ipam, "ipam")])] : [];
  const [first, ...rest] = [...(runtimeConfig?.ipRanges ?? []), ...single, ...(ipam.ranges ?? [])];
  if (!first) return invalid("ipam.ranges", "there is no range to allocate from");
  const sets: Pool["sets"] = [first, ...rest];
  checkDisjoint("ipam.ranges", sets);
  checkOneEach(conf.cniVersion, sets.map(familyOf), "ipam.ranges");
  return {
    sets,
    requested: [...(args?.cni?.ips ?? []), ...(runtimeConfig?.ips ?? [])],
    routes: ipam.routes ?? [],
    ...(ipam.resolvConf && { resolvConf: ipam.resolvConf }),
  };
}

/**
 * The address in `CNI_ARGS`, `IP=10.1.2.3` with or without a prefix length. `MAC` is for the plugin that asks.
 * @throws env/invalid decode/malformed
 */
export function requestedByArgs(args: string): readonly Ip[] {
  const { IP } = parseCniArgs(args, ["IP", "MAC"]);
  return IP ? [decodeAs("CNI_ARGS IP", ipOrPrefix, IP)] : [];
}
