/**
 * The options of DHCPv4 that a client of containers uses (RFC 2132, 3004, 3397, 3442): their numbers, and how an
 * acknowledgement becomes the terms of a lease. An option that the lease depends on and that is malformed spoils the
 * message; one that only informs is left out and named.
 */
import { NetError } from "../errors.ts";
import { type Ip, ipFromBytes, isUnspecified, network, prefix } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import { viewOf } from "../wire/fixed.ts";
import { decodeNames, isName } from "./domain-names.ts";
import { malformed } from "./malformed.ts";
import { FOREVER, type Terms4, type Via } from "./model.ts";
import type { Message4, Options4 } from "./v4-message.ts";

export const OPTION = {
  subnetMask: 1,
  routers: 3,
  nameservers: 6,
  hostName: 12,
  domainName: 15,
  interfaceMtu: 26,
  staticRoutes: 33,
  timeServers: 42,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverId: 54,
  parameterRequest: 55,
  message: 56,
  maximumSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientId: 61,
  userClass: 77,
  domainSearch: 119,
  classlessRoutes: 121,
} as const;

/** Values of option 53. */
export const TYPE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
} as const;

/** Asked for unless the configuration says otherwise; 121 stands before 3 and 33, as RFC 3442 wants it. */
export const USUAL_REQUEST: readonly number[] = [
  OPTION.classlessRoutes,
  OPTION.subnetMask,
  OPTION.routers,
  OPTION.nameservers,
  OPTION.domainName,
  OPTION.interfaceMtu,
  OPTION.staticRoutes,
  OPTION.timeServers,
  OPTION.leaseTime,
  OPTION.serverId,
  OPTION.renewalTime,
  OPTION.rebindingTime,
  OPTION.domainSearch,
];

/** What a server that forgot option 51 is taken to have meant, in seconds; the reference's. */
const USUAL_LEASE_SECONDS = 3600;
/** RFC 2131, section 4.4.5. */
const USUAL_RENEW = 0.5;
const USUAL_REBIND = 0.875;
/** The smallest MTU that RFC 2132 allows. */
const LEAST_MTU = 68;

type Read<T> = (value: Uint8Array, what: string) => T;

const u8: Read<number> = (v, what) => (v.length === 1 ? (v[0] ?? 0) : badLength(what, v, "1 byte"));
const u16: Read<number> = (v, what) =>
  v.length === 2 ? viewOf(v).getUint16(0) : badLength(what, v, "2 bytes");
const u32: Read<number> = (v, what) =>
  v.length === 4 ? viewOf(v).getUint32(0) : badLength(what, v, "4 bytes");
const ip: Read<Ip> = (v, what) => (v.length === 4 ? ipFromBytes(v) : badLength(what, v, "4 bytes"));
const ips: Read<readonly Ip[]> = (v, what) => {
  if (v.length === 0 || v.length % 4 !== 0) return badLength(what, v, "a multiple of 4 bytes");
  return Array.from({ length: v.length / 4 }, (_, i) => ipFromBytes(v.subarray(i * 4, i * 4 + 4)));
};
const badLength = (what: string, v: Uint8Array, wanted: string): never =>
  malformed(what, `expected ${wanted}, got ${v.length}`);

const option = <T>(options: Options4, code: number, read: Read<T>): T | undefined => {
  const value = options.get(code);
  return value === undefined ? undefined : read(value, `DHCP option ${code}`);
};

/** The type of a message, or 0 if it has none: then it is BOOTP's. */
export const messageType = (m: Message4): number => option(m.options, OPTION.messageType, u8) ?? 0;

export const serverIdOf = (m: Message4): Ip | undefined => option(m.options, OPTION.serverId, ip);

/** What the server says to people, as one line of ASCII. */
export const messageText = (m: Message4): string =>
  String.fromCharCode(...(m.options.get(OPTION.message) ?? []))
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .slice(0, 200);

/** The length of a mask. A mask with holes is none. */
function maskBits(mask: Ip, what: string): number {
  const n = viewOf(mask.bytes).getUint32(0);
  const bits = Math.clz32(~n);
  return n === (bits === 0 ? 0 : (0xffff_ffff << (32 - bits)) >>> 0)
    ? bits
    : malformed(what, `${mask.text} has holes`);
}

/** The mask that an address had before there were masks (RFC 791). */
function classBits(address: Ip): number {
  const first = address.bytes[0] ?? 0;
  return first < 128 ? 8 : first < 192 ? 16 : 24;
}

/** Option 33: pairs of destination and router. The default route has no place there (RFC 2132, section 5.8). */
const staticRoutes: Read<readonly Via[]> = (v, what) => {
  if (v.length === 0 || v.length % 8 !== 0) return badLength(what, v, "a multiple of 8 bytes");
  return Array.from({ length: v.length / 8 }, (_, i): Via => {
    const dst = ipFromBytes(v.subarray(i * 8, i * 8 + 4));
    const gw = ipFromBytes(v.subarray(i * 8 + 4, i * 8 + 8));
    if (isUnspecified(dst)) malformed(what, "has a default route");
    // An address with host bits means that one host.
    const net = network(prefix(dst, classBits(dst)));
    return { dst: net.ip.text === dst.text ? net.text : `${dst.text}/32`, gw: gw.text };
  });
};

/** Option 121: the length of each destination, as many of its bytes as that needs, and the router. */
const classlessRoutes: Read<readonly Via[]> = (v, what) => {
  if (v.length < 5) return badLength(what, v, "at least 5 bytes");
  const routes: Via[] = [];
  for (let at = 0; at < v.length;) {
    const bits = v[at++] ?? 0;
    const significant = Math.ceil(bits / 8);
    if (bits > 32 || at + significant + 4 > v.length) malformed(what, "a route goes beyond the end");
    const dst = new Uint8Array(4);
    dst.set(v.subarray(at, at + significant));
    at += significant;
    const gw = ipFromBytes(v.subarray(at, at + 4));
    at += 4;
    const net = network(prefix(ipFromBytes(dst), bits));
    // A router of 0.0.0.0 means that the destination is on the link.
    routes.push(isUnspecified(gw) ? { dst: net.text } : { dst: net.text, gw: gw.text });
  }
  return routes;
};

const domainName: Read<string> = (v, what) => {
  // Some servers send the closing zero of C, or the closing point of DNS.
  const name = String.fromCharCode(...v).replace(/\.?\0*$/, "");
  return isName(name) ? name : malformed(what, "is not a domain name");
};
const search: Read<readonly string[]> = (v, what) => decodeNames(v, what, true);
const mtu: Read<number> = (v, what) => {
  const value = u16(v, what);
  return value >= LEAST_MTU ? value : malformed(what, `${value} is less than ${LEAST_MTU}`);
};

/** An address that a host can have. */
export const isHostAddress = (address: Ip): boolean => {
  const first = address.bytes[0] ?? 0;
  return first !== 0 && first !== 127 && first < 224;
};

/** Server, address and times: that without which there is no lease. */
function core(
  m: Message4,
): Pick<Terms4, "address" | "server" | "leaseSeconds" | "renewSeconds" | "rebindSeconds"> {
  const server = serverIdOf(m) ?? malformed("DHCP message", "has no server identifier (option 54)");
  if (!isHostAddress(m.yiaddr)) malformed("DHCP message", `gives the address ${m.yiaddr.text}`);
  const mask = option(m.options, OPTION.subnetMask, ip);
  const bits = mask ? maskBits(mask, `DHCP option ${OPTION.subnetMask}`) : classBits(m.yiaddr);
  const lease = option(m.options, OPTION.leaseTime, u32) ?? USUAL_LEASE_SECONDS;
  if (lease === 0) malformed(`DHCP option ${OPTION.leaseTime}`, "is zero");
  const t1 = option(m.options, OPTION.renewalTime, u32);
  const t2 = option(m.options, OPTION.rebindingTime, u32);
  return {
    address: prefix(m.yiaddr, bits).text,
    server: server.text,
    leaseSeconds: lease,
    ...renewalTimes(lease, t1, t2, USUAL_RENEW, USUAL_REBIND),
  };
}

/**
 * T1 and T2 in seconds: the server's, unless they are missing or out of order, and then parts of the lease's time. A lease
 * that does not end is not renewed.
 */
export function renewalTimes(
  lease: number,
  t1: number | undefined,
  t2: number | undefined,
  usualT1: number,
  usualT2: number,
): { readonly renewSeconds: number; readonly rebindSeconds: number } {
  if (lease === FOREVER) return { renewSeconds: FOREVER, rebindSeconds: FOREVER };
  const rebindSeconds = t2 !== undefined && t2 > 0 && t2 < lease ? t2 : Math.floor(lease * usualT2);
  const renewSeconds =
    t1 !== undefined && t1 > 0 && t1 < rebindSeconds
      ? t1
      : Math.min(Math.floor(lease * usualT1), rebindSeconds);
  return { renewSeconds, rebindSeconds };
}

export interface Granted {
  readonly terms: Terms4;
  /** What was left out, for the log. */
  readonly ignored: readonly string[];
}

/**
 * What an acknowledgement, or an offer, grants.
 * @throws decode/malformed if it is no lease
 */
export function termsOf(m: Message4, serverMac: Mac): Granted {
  const ignored: string[] = [];
  const informal = <T>(code: number, read: Read<T>): T | undefined => {
    try {
      return option(m.options, code, read);
    } catch (e) {
      if (!(e instanceof NetError && e.is("decode/malformed"))) throw e;
      ignored.push(e.message);
      return undefined;
    }
  };
  const texts = (list: readonly Ip[] | undefined): readonly string[] => list?.map((a) => a.text) ?? [];
  const classless = option(m.options, OPTION.classlessRoutes, classlessRoutes);
  const domain = informal(OPTION.domainName, domainName);
  const linkMtu = informal(OPTION.interfaceMtu, mtu);
  const terms: Terms4 = {
    family: 4,
    ...core(m),
    serverMac,
    routers: texts(option(m.options, OPTION.routers, ips)?.filter(isHostAddress)),
    ...(classless ? { classlessRoutes: classless } : {}),
    staticRoutes: option(m.options, OPTION.staticRoutes, staticRoutes) ?? [],
    nameservers: texts(informal(OPTION.nameservers, ips)?.filter((a) => !isUnspecified(a))),
    ...(domain === undefined ? {} : { domain }),
    search: informal(OPTION.domainSearch, search) ?? [],
    timeServers: texts(informal(OPTION.timeServers, ips)),
    ...(linkMtu === undefined ? {} : { mtu: linkMtu }),
  };
  return { terms, ignored };
}
