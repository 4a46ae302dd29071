import { bad, type Brand, good, type Parsed } from "./brand.ts";

/**
 * Addresses and prefixes. One canonical form in memory: the bytes in network order and the printed form, which
 * is unique (RFC 5952 for IPv6), so that two equal addresses print the same and `text` can be a map key.
 */
export type Family = 4 | 6;

interface IpShape {
  readonly family: Family;
  /** 4 or 16 bytes in network order. Never written to. */
  readonly bytes: Uint8Array;
  readonly text: string;
}
export type Ip = Brand<IpShape, "Ip">;

interface PrefixShape {
  /** The address as written; its host bits may be set. */
  readonly ip: Ip;
  /** Length in bits, 0 to 32 or 128. */
  readonly bits: number;
  readonly text: string;
}
/** An address with a prefix length, as on an interface: `10.1.2.3/24`. */
export type IpPrefix = Brand<PrefixShape, "IpPrefix">;

const make = (bytes: Uint8Array): Ip =>
  Object.freeze({ family: bytes.length === 4 ? 4 : 6, bytes, text: format(bytes) } satisfies IpShape) as Ip;

const makePrefix = (ip: Ip, bits: number): IpPrefix =>
  Object.freeze({ ip, bits, text: `${ip.text}/${bits}` } satisfies PrefixShape) as IpPrefix;

function format(b: Uint8Array): string {
  if (b.length === 4) return b.join(".");
  const words = Array.from({ length: 8 }, (_, i) => ((b[i * 2] ?? 0) << 8) | (b[i * 2 + 1] ?? 0));
  if (words.slice(0, 5).every((w) => w === 0) && words[5] === 0xffff)
    return `::ffff:${b.subarray(12).join(".")}`;
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = words.map((w) => w.toString(16));
  if (best.at < 0) return hex.join(":");
  return `${hex.slice(0, best.at).join(":")}::${hex.slice(best.at + best.length).join(":")}`;
}

/** One octet in decimal, without leading zeros: some programs read those as octal. */
const OCTET = /^(0|[1-9]\d{0,2})$/;

function parse4(s: string): Uint8Array | undefined {
  const parts = s.split(".");
  if (parts.length !== 4) return undefined;
  // A plain loop: this is on the way of every start, and `Uint8Array.from` costs ten times as much when it is cold.
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const value = OCTET.test(parts[i] ?? "") ? Number(parts[i]) : 256;
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

function parse6(s: string): Uint8Array | undefined {
  let text = s;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted?.[1] !== undefined && dotted[2] !== undefined) {
    const v4 = parse4(dotted[2]);
    if (!v4) return undefined;
    const word = (i: number): string => (((v4[i] ?? 0) << 8) | (v4[i + 1] ?? 0)).toString(16);
    text = `${dotted[1]}${word(0)}:${word(2)}`;
  }
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const words = (half: string | undefined): string[] => (half ? half.split(":") : []);
  const head = words(halves[0]);
  const tail = words(halves[1]);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...head, ...Array<string>(halves.length === 1 ? 0 : missing).fill("0"), ...tail];
  if (!all.every((w) => /^[0-9a-f]{1,4}$/i.test(w))) return undefined;
  return Uint8Array.from(all.flatMap((w) => [Number.parseInt(w, 16) >> 8, Number.parseInt(w, 16) & 0xff]));
}

/** Reads `10.0.0.1` or `fd00::1`. An IPv4-mapped IPv6 address is the IPv4 address, as everywhere in CNI. */
export function parseIp(s: string): Parsed<Ip> {
  const bytes = s.includes(":") ? parse6(s) : parse4(s);
  if (bytes === undefined) return bad(`"${s}" is not an IP address`);
  const mapped = bytes.length === 16 && MAPPED.every((b, i) => bytes[i] === b);
  return good(make(mapped ? bytes.slice(12) : bytes));
}
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/** 4 or 16 bytes in network order, as the kernel has them; a copy is taken. */
export function ipFromBytes(b: Uint8Array): Ip {
  if (b.length !== 4 && b.length !== 16)
    throw new RangeError(`an IP address has 4 or 16 bytes, not ${b.length}`);
  return make(b.slice());
}

/** Reads `10.0.0.1/24`; the host bits may be set. */
export function parsePrefix(s: string): Parsed<IpPrefix> {
  const slash = s.indexOf("/");
  const length = s.slice(slash + 1);
  const ip = slash < 0 ? bad("") : parseIp(s.slice(0, slash));
  if (!ip.ok || !/^(0|[1-9]\d{0,2})$/.test(length))
    return bad(`"${s}" is not an address with a prefix length`);
  if (Number(length) > width(ip.value))
    return bad(`"${s}": the prefix length is more than ${width(ip.value)}`);
  return good(makePrefix(ip.value, Number(length)));
}

export const prefix = (ip: Ip, bits: number): IpPrefix => {
  if (!Number.isInteger(bits) || bits < 0 || bits > width(ip)) throw new RangeError(`${ip.text}/${bits}`);
  return makePrefix(ip, bits);
};

/** 32 or 128. */
export const width = (ip: Ip): number => ip.bytes.length * 8;

/** The prefix that holds this one address alone: /32 or /128. */
export const hostPrefix = (ip: Ip): IpPrefix => makePrefix(ip, width(ip));

export const toBigInt = (ip: Ip): bigint => ip.bytes.reduce((n, b) => (n << 8n) | BigInt(b), 0n);

/** The address of that number, in the family of `like`; the number wraps within the family. */
export function fromBigInt(n: bigint, like: Ip): Ip {
  const bytes = new Uint8Array(like.bytes.length);
  let rest = BigInt.asUintN(width(like), n);
  for (let i = bytes.length - 1; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return make(bytes);
}

const hostMask = (p: IpPrefix): bigint => (1n << BigInt(width(p.ip) - p.bits)) - 1n;

/** The prefix with its host bits cleared: `10.1.2.3/24` gives `10.1.2.0/24`. */
export const network = (p: IpPrefix): IpPrefix =>
  makePrefix(fromBigInt(toBigInt(p.ip) & ~hostMask(p), p.ip), p.bits);

/** The last address of the prefix; in IPv4 the broadcast address. */
export const lastIp = (p: IpPrefix): Ip => fromBigInt(toBigInt(p.ip) | hostMask(p), p.ip);

export const addToIp = (ip: Ip, n: bigint): Ip => fromBigInt(toBigInt(ip) + n, ip);

/** Byte by byte: asked for each node of a cluster, where numbers of 128 bits would be the most of the work. */
export function contains({ ip: { bytes: own, family }, bits }: IpPrefix, ip: Ip): boolean {
  if (family !== ip.family) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (own[i] !== ip.bytes[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((own[whole] ?? 0) ^ (ip.bytes[whole] ?? 0)) >> (8 - rest) === 0;
}

export const overlaps = (a: IpPrefix, b: IpPrefix): boolean => contains(a, b.ip) || contains(b, a.ip);

/** Less than zero, zero or more than zero, as `a` comes before, with or after `b`; IPv4 comes before IPv6. */
export function compareIp(a: Ip, b: Ip): number {
  if (a.family !== b.family) return a.family - b.family;
  return Buffer.compare(a.bytes, b.bytes);
}

/** `0.0.0.0/0` or `::/0`. */
export const defaultRoute = (family: Family): IpPrefix =>
  makePrefix(make(new Uint8Array(family === 4 ? 4 : 16)), 0);

/** `0.0.0.0` and `::`. */
export const isUnspecified = (ip: Ip): boolean => ip.bytes.every((b) => b === 0);

/** `127.0.0.0/8` and `::1`. */
export const isLoopback = (ip: Ip): boolean => (ip.family === 4 ? ip.bytes[0] === 127 : ip.text === "::1");
