import { parseCniArgs } from "../../cni/args.ts";
import {
  type Decode,
  flag,
  foldKeys,
  integer,
  invalid,
  isObject,
  object,
  oneOf,
  parsed,
  required,
  text,
  withDefault,
} from "../../cni/json.ts";
import type { NetConf } from "../../cni/plugin.ts";
import type { Dns } from "../../cni/result.ts";
import type { Backend } from "../../firewall/model.ts";
import { parseIfName } from "../../net/ifname.ts";
import { type Mac, macToBytes, parseMac } from "../../net/mac.ts";

/** Keys that several plugins share, each read in one way. */
export const ifName = parsed(parseIfName);

/** 68 is the least that IPv4 allows (RFC 791); 0 is the same as absent. */
export const mtu: Decode<number> = (value, at) =>
  value === 0 ? 0 : integer({ min: 68, max: 65535 })(value, at);

export const masqueradeFields = {
  ipMasq: withDefault(flag, false),
  ipMasqBackend: oneOf("iptables", "nftables", ""),
} as const;

/** nftables unless the configuration says otherwise; the empty word is the same as none. */
export const backendOf = (word: string | undefined): Backend =>
  word === "iptables" ? "iptables" : "nftables";

export const ipamField: Decode<{ readonly type?: string }> = object({ type: text });
export const requiredIpam = required(object({ type: required(text) }));

/**
 * The IPAM plugin that a configuration names which may have become invalid since ADD; undefined if that cannot be read.
 * Never throws: what the record knows is removed whatever the configuration says.
 */
export function ipamForRemoval({ raw }: Pick<NetConf, "raw">): string | undefined {
  const { ipam } = foldKeys(raw, ["ipam"]);
  const { type } = isObject(ipam) ? foldKeys(ipam, ["type"]) : {};
  return typeof type === "string" && type !== "" ? type : undefined;
}

/** The MAC address of one link. */
export const linkMac: Decode<Mac> = (value, at) => {
  const mac = parsed(parseMac)(value, at);
  const bytes = macToBytes(mac);
  if (((bytes[0] ?? 0) & 1) === 1 || bytes.every((b) => b === 0))
    return invalid(at, `${mac} is no address of a single link (multicast or zero)`);
  return mac;
};

/** What an empty word says, as in a field that was left out by a template: the same as none. */
export const unlessEmpty =
  <T>(decode: Decode<T>): Decode<T | undefined> =>
  (value, at) =>
    value === "" ? undefined : decode(value, at);

/**
 * The configuration's DNS settings replace those of IPAM if it has any. An empty list is one, and asks for none; an
 * empty domain says nothing.
 */
export const dnsOf = (configured: Dns | undefined, leased: Dns): Dns =>
  configured !== undefined && Object.values(configured).some((v) => v !== undefined && v !== "")
    ? configured
    : leased;

/** Where `macOf` looks beside CNI_ARGS: options of a plugin that calls it. */
export const macSources = object({
  args: object({ cni: object({ mac: text }) }),
  runtimeConfig: object({ mac: text }),
});

/**
 * The MAC address that was asked for: `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of CNI_ARGS. `IP` and
 * `GATEWAY` of CNI_ARGS are IPAM's.
 */
export function macOf(call: { readonly conf: NetConf; readonly args: string }): Mac | undefined {
  const { args, runtimeConfig } = macSources(call.conf.raw, "");
  const fromEnv = parseCniArgs(call.args, ["MAC", "IP", "GATEWAY"]).MAC;
  const found =
    runtimeConfig?.mac !== undefined && runtimeConfig.mac !== ""
      ? { value: runtimeConfig.mac, at: "runtimeConfig.mac" }
      : args?.cni?.mac !== undefined && args.cni.mac !== ""
        ? { value: args.cni.mac, at: "args.cni.mac" }
        : fromEnv
          ? { value: fromEnv, at: "CNI_ARGS MAC" }
          : undefined;
  if (found === undefined) return undefined;
  return linkMac(found.value, found.at);
}
