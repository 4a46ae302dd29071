/**
 * Ranges of addresses as pure data: what a range may be, which address belongs to which, and in which order free ones
 * are tried. An IPv6 range can hold 2^64 addresses, so nothing here lists one; the order is a generator. It knows no
 * files.
 */
import {
  addToIp,
  contains,
  fromBigInt,
  type Ip,
  type IpPrefix,
  lastIp,
  network,
  toBigInt,
  width,
} from "../../../net/ip.ts";
import { type Decode, invalid, list, object, refined, required } from "../../../cni/json.ts";
import { ipPrefix, optionalIp } from "../decode.ts";

export interface Range {
  readonly subnet: IpPrefix;
  readonly gateway: Ip;
  /** First and last address that may be given out, both included. */
  readonly start: Ip;
  readonly end: Ip;
  readonly first: bigint;
  readonly last: bigint;
}
/** Ranges of one family, from which an attachment gets one address. Never empty. */
export type RangeSet = readonly [Range, ...Range[]];

const isLinkLocal6 = (ip: Ip): boolean =>
  ip.family === 6 && ip.bytes[0] === 0xfe && ((ip.bytes[1] ?? 0) & 0xc0) === 0x80;

const readRange = object({
  subnet: required(ipPrefix),
  rangeStart: optionalIp,
  rangeEnd: optionalIp,
  gateway: optionalIp,
});

/**
 * One range: `subnet` without host bits and at most /30 or /126 long; `rangeStart` (default: the first address
 * after the network's own), `rangeEnd` (default: the last, in IPv4 the one before the broadcast address) and `gateway`
 * (default: the first), each inside the subnet. A gateway may be link-local in IPv6.
 */
export const range: Decode<Range> = refined(readRange, (o, at) => {
  const subnet = network(o.subnet);
  if (subnet.bits > width(subnet.ip) - 2)
    return invalid(`${at}.subnet`, `${o.subnet.text} is too small to allocate from`);
  if (subnet.text !== o.subnet.text)
    return invalid(`${at}.subnet`, `${o.subnet.text} has host bits set; the network is ${subnet.text}`);
  const inside = (key: "rangeStart" | "rangeEnd"): Ip | undefined => {
    const ip = o[key];
    return ip && !contains(subnet, ip)
      ? invalid(`${at}.${key}`, `${ip.text} is not in network ${subnet.text}`)
      : ip;
  };
  const start = inside("rangeStart") ?? addToIp(subnet.ip, 1n);
  const end = inside("rangeEnd") ?? addToIp(lastIp(subnet), subnet.ip.family === 4 ? -1n : 0n);
  const [first, last] = [toBigInt(start), toBigInt(end)];
  if (first > last) return invalid(`${at}.rangeEnd`, `${end.text} comes before rangeStart ${start.text}`);
  const gateway = o.gateway ?? addToIp(subnet.ip, 1n);
  if (!contains(subnet, gateway) && !(subnet.ip.family === 6 && isLinkLocal6(gateway)))
    return invalid(`${at}.gateway`, `${gateway.text} is not in network ${subnet.text}`);
  return { subnet, gateway, start, end, first, last };
});

/** Ranges of one set: at least one, all of one family, none overlapping another. */
export function makeSet(at: string, ranges: readonly Range[]): RangeSet {
  const [head, ...rest] = ranges;
  if (!head) return invalid(at, "is an empty range set");
  const set: RangeSet = [head, ...rest];
  if (set.some((r) => familyOf(set) !== r.subnet.ip.family))
    return invalid(at, "mixes IPv4 and IPv6 in one range set");
  set.forEach((r, i) => {
    const other = set.slice(0, i).find((o) => overlap(r, o));
    if (other) invalid(at, `${rangeText(r)} overlaps ${rangeText(other)}`);
  });
  return set;
}

export const rangeSet: Decode<RangeSet> = refined(list(range), (ranges, at) => makeSet(at, ranges));

/** Throws if two sets share an address: each would hand it out. */
export function checkDisjoint(at: string, sets: readonly RangeSet[]): void {
  sets.forEach((set, i) => {
    const other = sets.slice(0, i).find((o) => o.some((a) => set.some((b) => overlap(a, b))));
    if (other) invalid(at, `range set ${setText(set)} overlaps ${setText(other)}`);
  });
}

const overlap = (a: Range, b: Range): boolean =>
  a.subnet.ip.family === b.subnet.ip.family && a.first <= b.last && b.first <= a.last;

export const familyOf = (set: RangeSet): 4 | 6 => set[0].subnet.ip.family;
const rangeText = (r: Range): string => `${r.start.text}-${r.end.text}`;
/** `10.1.2.1-10.1.2.254,10.1.4.1-10.1.4.254` */
export const setText = (set: RangeSet): string => set.map(rangeText).join(",");

const within = (r: Range, ip: Ip, n: bigint): boolean =>
  ip.family === r.subnet.ip.family && r.first <= n && n <= r.last;

/** The range that gives out `ip`, if one of the set does. */
export function rangeOf(set: RangeSet, ip: Ip): Range | undefined {
  const n = toBigInt(ip);
  return set.find((r) => within(r, ip, n));
}

/** True if `ip` is the gateway of any range of the set; a gateway is never given out. */
export const isGateway = (set: RangeSet, ip: Ip): boolean => set.some((r) => r.gateway.text === ip.text);

/** How many addresses the set can give out. */
export function capacity(set: RangeSet): bigint {
  const all = set.reduce((sum, r) => sum + r.last - r.first + 1n, 0n);
  const gateways = new Map(set.map((r) => [r.gateway.text, r.gateway]));
  return all - BigInt([...gateways.values()].filter((g) => rangeOf(set, g)).length);
}

export interface Candidate {
  readonly ip: Ip;
  readonly range: Range;
}

/**
 * Every address of the set once, without gateways: from the one after `after` on, through the other ranges and round
 * to `after` itself, which comes last. If `after` is not of this set, from the beginning.
 */
export function* candidates(set: RangeSet, after: Ip | undefined): Generator<Candidate> {
  const from = after && rangeOf(set, after);
  if (!after || !from) {
    for (const range of set) yield* stretch(set, range, range.first, range.last);
    return;
  }
  const n = toBigInt(after);
  const i = set.indexOf(from);
  yield* stretch(set, from, n + 1n, from.last);
  for (const range of [...set.slice(i + 1), ...set.slice(0, i)])
    yield* stretch(set, range, range.first, range.last);
  yield* stretch(set, from, from.first, n);
}

function* stretch(set: RangeSet, range: Range, first: bigint, last: bigint): Generator<Candidate> {
  for (let n = first; n <= last; n++) {
    const ip = fromBigInt(n, range.subnet.ip);
    if (!isGateway(set, ip)) yield { ip, range };
  }
}
