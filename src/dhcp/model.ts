/**
 * What a lease is: whose it is, where its interface is, what the server said. All of it is plain data, as it goes
 * between plugin, daemon and child, and to the disk. Addresses are text in their one printed form.
 */
import { type Decode, integer, list, object, oneOf, parsed, required, text, flag } from "../cni/json.ts";
import { parseIp, parsePrefix } from "../net/ip.ts";
import { parseMac } from "../net/mac.ts";
import type { Parsed } from "../net/brand.ts";

/** An attachment as the daemon knows it. */
export interface LeaseKey {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** A network namespace that must be this one and no later one at its path. */
export interface NetnsRef {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  /** Never used again, unlike device and inode; absent before Linux 5.14. */
  readonly cookie?: string;
}

/** The interface that has the lease, by index: a name can be given to another one. */
export interface LinkRef {
  readonly index: number;
  readonly mac: string;
}

/** What the client says of itself in every message. */
export interface Client {
  /** Option 61, in hexadecimal; the DUID of DHCPv6 is made of it. */
  readonly id: string;
  /** Options to send, by number, in hexadecimal. */
  readonly options: readonly (readonly [code: number, hex: string])[];
  /** Options to ask for. */
  readonly request: readonly number[];
  /** Ask for answers to all. */
  readonly broadcast: boolean;
}

export interface Via {
  readonly dst: string;
  /** Absent: the destination is on the link. */
  readonly gw?: string;
}

/** What a DHCPv4 server granted. Times are in seconds; `FOREVER` has no end. */
export interface Terms4 {
  readonly family: 4;
  /** With the length of the subnet mask: `10.0.0.5/24`. */
  readonly address: string;
  /** The server's identifier (option 54), which is where renewals are sent. */
  readonly server: string;
  /** Where the frame with its answer came from: the server itself or the router on the way to it. */
  readonly serverMac: string;
  readonly routers: readonly string[];
  /** Option 121; when it is there, `routers` and `staticRoutes` do not count (RFC 3442). */
  readonly classlessRoutes?: readonly Via[];
  readonly staticRoutes: readonly Via[];
  readonly nameservers: readonly string[];
  readonly domain?: string;
  readonly search: readonly string[];
  readonly timeServers: readonly string[];
  readonly mtu?: number;
  readonly leaseSeconds: number;
  readonly renewSeconds: number;
  readonly rebindSeconds: number;
}

/** What a DHCPv6 server granted. */
export interface Terms6 {
  readonly family: 6;
  /** Always /128: what is on the link, routers announce. */
  readonly address: string;
  /** The server's DUID, in hexadecimal. */
  readonly server: string;
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly leaseSeconds: number;
  readonly renewSeconds: number;
  readonly rebindSeconds: number;
}
export type Terms = Terms4 | Terms6;

/** Lease times are 32 bits of seconds; this one means that the lease does not end (RFC 2131, section 3.3). */
export const FOREVER = 0xffff_ffff;

/** The text itself, if it is what `parse` reads. */
const checkedText =
  <T>(parse: (s: string) => Parsed<T>): Decode<string> =>
  (value, at) => {
    parsed(parse)(value, at);
    return text(value, at);
  };
const ip = checkedText(parseIp);
const prefix = checkedText(parsePrefix);
const mac = checkedText(parseMac);
const hex: Decode<string> = (value, at) =>
  checkedText((s) =>
    /^(?:[0-9a-f]{2})*$/.test(s) ? { ok: true, value: s } : { ok: false, why: "is not hexadecimal" },
  )(value, at);
const seconds = required(integer({ min: 0, max: FOREVER }));
const code = integer({ min: 0, max: 0xffff });

export const readKey: Decode<LeaseKey> = object({
  network: required(text),
  containerId: required(text),
  ifname: required(text),
});
export const readNetns: Decode<NetnsRef> = object({
  path: required(text),
  dev: required(integer()),
  ino: required(integer()),
  cookie: text,
});
export const readLink: Decode<LinkRef> = object({ index: required(integer({ min: 1 })), mac: required(mac) });

const option: Decode<readonly [number, string]> = (value, at) => {
  const pair: readonly unknown[] = Array.isArray(value) ? value : [];
  return [code(pair[0], `${at}[0]`), hex(pair[1], `${at}[1]`)];
};
export const readClient: Decode<Client> = object({
  id: required(hex),
  options: required(list(option)),
  request: required(list(code)),
  broadcast: required(flag),
});

const readVia = object({ dst: required(prefix), gw: ip });
const ips = required(list(ip));
const words = required(list(text));
const readTerms4 = object({
  address: required(prefix),
  server: required(ip),
  serverMac: required(mac),
  routers: ips,
  classlessRoutes: list(readVia),
  staticRoutes: required(list(readVia)),
  nameservers: ips,
  domain: text,
  search: words,
  timeServers: ips,
  mtu: integer({ min: 68, max: 65_535 }),
  leaseSeconds: seconds,
  renewSeconds: seconds,
  rebindSeconds: seconds,
});
const readTerms6 = object({
  address: required(prefix),
  server: required(hex),
  nameservers: ips,
  search: words,
  leaseSeconds: seconds,
  renewSeconds: seconds,
  rebindSeconds: seconds,
});
const readFamily = object({ family: required(integer({ min: 4, max: 6 })) });
export const readTerms: Decode<Terms> = (value, at) =>
  readFamily(value, at).family === 4
    ? { family: 4, ...readTerms4(value, at) }
    : { family: 6, ...readTerms6(value, at) };

export const familyName = { 4: "ipv4", 6: "ipv6" } as const;
export const readFamilyName = oneOf("ipv4", "ipv6");
