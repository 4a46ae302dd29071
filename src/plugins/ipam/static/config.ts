/**
 * The configuration of `static`: addresses from four sources, the later replacing or extending the earlier, routes and
 * DNS. The order: `ipam.addresses`; `CNI_ARGS` adds its own and gives gateways; `args.cni.ips` replaces all of
 * them; `runtimeConfig.ips` replaces those again.
 */
import { parseCniArgs } from "../../../cni/args.ts";
import {
  decodeAs,
  type Decode,
  invalid,
  list,
  object,
  parsed,
  refined,
  required,
} from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { Dns, ResultIp, ResultRoute } from "../../../cni/result.ts";
import type { Version } from "../../../cni/version.ts";
import { contains, type IpPrefix, parseIp } from "../../../net/ip.ts";
import { type Checked, checked, checkOneEach, demand, dns, ipPrefix, optionalIp, routes } from "../decode.ts";

export interface StaticConfig {
  readonly cniVersion: Version;
  readonly sources: Checked<Sources>;
}
export interface Sources {
  readonly addresses: readonly ResultIp[];
  /** `args.cni.ips` and `runtimeConfig.ips`; empty if not given. */
  readonly argsIps: readonly IpPrefix[];
  readonly runtimeIps: readonly IpPrefix[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

const readAddress = object({ address: required(ipPrefix), gateway: optionalIp });
const address: Decode<ResultIp> = refined(readAddress, ({ address: own, gateway }, at) => {
  if (gateway && gateway.family !== own.ip.family)
    return invalid(`${at}.gateway`, `${gateway.text} is not of the family of ${own.text}`);
  return gateway ? { address: own, gateway } : { address: own };
});
const ips = list(ipPrefix);
export const options = object({
  ipam: required(object({ addresses: list(address), routes, dns })),
  args: object({ cni: object({ ips }) }),
  runtimeConfig: object({ ips }),
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): StaticConfig {
  const config = parseForRemoval(conf);
  demand(config.sources);
  return config;
}

/** Never throws, so that DEL succeeds whatever became of the configuration. */
export const parseForRemoval = (conf: NetConf): StaticConfig => ({
  cniVersion: conf.cniVersion,
  sources: checked(() => parseSources(conf)),
});

function parseSources(conf: NetConf): Sources {
  const { ipam, args, runtimeConfig } = options(conf.raw, "");
  return {
    addresses: ipam.addresses ?? [],
    argsIps: args?.cni?.ips ?? [],
    runtimeIps: runtimeConfig?.ips ?? [],
    routes: ipam.routes ?? [],
    dns: ipam.dns ?? {},
  };
}

const splitList = (s: string | undefined): string[] => (s ? s.split(",").map((part) => part.trim()) : []);
const gatewayAddress = parsed(parseIp);

/**
 * The addresses that count, after all sources. `MAC` in `CNI_ARGS` is for the plugin that asks.
 * @throws env/invalid decode/malformed config/invalid
 */
export function addressesOf(sources: Sources, args: string, version: Version): readonly ResultIp[] {
  const { IP, GATEWAY } = parseCniArgs(args, ["IP", "GATEWAY", "MAC"]);
  const added = splitList(IP).map((s): ResultIp => ({ address: decodeAs("CNI_ARGS IP", ipPrefix, s) }));
  const gateways = splitList(GATEWAY).map((s) => decodeAs("CNI_ARGS GATEWAY", gatewayAddress, s));
  const replaced = [sources.runtimeIps, sources.argsIps].find((source) => source.length > 0);
  const result = replaced
    ? replaced.map((p): ResultIp => ({ address: p }))
    : [...sources.addresses, ...added].map((a): ResultIp => {
        const gateway = gateways.findLast((g) => contains(a.address, g));
        return gateway ? { address: a.address, gateway } : a;
      });
  checkOneEach(
    version,
    result.map((a) => a.address.ip.family),
    "ipam.addresses",
  );
  return result;
}
