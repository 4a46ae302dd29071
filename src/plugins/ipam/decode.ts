/**
 * Decoders for the keys that `host-local` and `static` have in common. They know no plugin's rules. An empty string
 * where an address is wanted counts as absent, as in the reference.
 */
import type { Dns, ResultRoute } from "../../cni/result.ts";
import { NetError } from "../../errors.ts";
import {
  type Decode,
  integer,
  invalid,
  list,
  object,
  parsed,
  refined,
  required,
  text,
} from "../../cni/json.ts";
import { atLeast, type Version } from "../../cni/version.ts";
import { type Family, type Ip, type IpPrefix, parseIp, parsePrefix } from "../../net/ip.ts";

export const ipPrefix: Decode<IpPrefix> = parsed(parsePrefix);
const ip: Decode<Ip> = parsed(parseIp);

export const optionalIp: Decode<Ip | undefined> = (value, at) => (value === "" ? undefined : ip(value, at));

/** An address with or without a prefix length; the length is dropped. */
export const ipOrPrefix: Decode<Ip> = (value, at) =>
  text(value, at).includes("/") ? ipPrefix(value, at).ip : ip(value, at);

/** 32-bit attributes of a route. */
const u32 = integer({ min: 0, max: 0xffff_ffff });
const readRoute = object({
  dst: required(ipPrefix),
  gw: optionalIp,
  mtu: u32,
  advmss: u32,
  priority: u32,
  table: u32,
  scope: integer({ min: 0, max: 0xff }),
});

const route: Decode<ResultRoute> = refined(readRoute, ({ gw, ...rest }) => (gw ? { ...rest, gw } : rest));

/** `routes` of an `ipam` object, in the order given. */
export const routes: Decode<readonly ResultRoute[]> = list(route);

/** `dns` of an `ipam` object; only the keys that are there. */
export const dns: Decode<Dns> = object({
  nameservers: list(text),
  domain: text,
  search: list(text),
  options: list(text),
});

/**
 * Before 0.3.0 a result has room for one address a family.
 * @throws config/invalid about `at` if there are more
 */
export function checkOneEach(version: Version, families: readonly Family[], at: string): void {
  if (atLeast(version, "0.3.0")) return;
  for (const family of [4, 6])
    if (families.filter((f) => f === family).length > 1)
      invalid(at, `CNI version ${version} has room for one IPv${family} address, not for more`);
}

/** A configuration, or why there is none: DEL and GC need to work although it became invalid. */
export type Checked<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: NetError };

/** Catches what a parser says about a configuration. */
export function checked<T>(parse: () => T): Checked<T> {
  try {
    return { ok: true, value: parse() };
  } catch (e) {
    if (e instanceof NetError) return { ok: false, error: e };
    throw e;
  }
}

/** The configuration, for verbs that cannot do without. */
export function demand<T>(config: Checked<T>): T {
  if (!config.ok) throw config.error;
  return config.value;
}
