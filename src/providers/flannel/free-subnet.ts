/** Choosing a subnet for a host out of all that are free. A network may have more of them than could be listed. */
import {
  addToIp,
  contains,
  type Ip,
  type IpPrefix,
  lastIp,
  overlaps,
  prefix,
  toBigInt,
  width,
} from "../../net/ip.ts";
import type { AddressPlan } from "./config.ts";

/** A whole number from zero to below the bound, every one as likely. */
export type Draw = (below: bigint) => bigint;

/** True if the plan could have given this subnet. */
export const fitsPlan = (plan: AddressPlan, subnet: IpPrefix): boolean =>
  subnet.ip.family === plan.min.family &&
  subnet.bits === plan.subnetLen &&
  toBigInt(subnet.ip) >= toBigInt(plan.min) &&
  toBigInt(subnet.ip) <= toBigInt(plan.max);

/** A network has at least four subnets, whatever their length: so many bits they are longer. */
const LEAST_BITS = 2;

/**
 * True if a subnet takes places: it is one that the network could give with some `SubnetLen`, this one or an earlier one, whose
 * hosts may still be there. What lies outside, or is wider than a quarter of the network, is no host's, and takes nobody's
 * place: otherwise a single key like `0.0.0.0-1` would leave none.
 */
export const takesPlaces = ({ network }: AddressPlan, subnet: IpPrefix): boolean =>
  subnet.bits >= network.bits + LEAST_BITS && contains(network, subnet.ip);

/** One of the free subnets by chance; undefined if all overlap with what is taken. */
export function freeSubnet(
  plan: AddressPlan,
  taken: readonly IpPrefix[],
  draw: Draw = drawBigInt,
): IpPrefix | undefined {
  const gaps = gapsOf(plan, taken);
  const free = gaps.reduce((sum, { count }) => sum + count, 0n);
  if (free === 0n) return undefined;
  let rest = draw(free);
  for (const { from, count } of gaps) {
    if (rest < count) return nth(plan, from + rest);
    rest -= count;
  }
  return undefined;
}

export const isFree = (subnet: IpPrefix, taken: readonly IpPrefix[]): boolean =>
  !taken.some((other) => overlaps(subnet, other));

const sizeOf = (plan: AddressPlan): bigint => 1n << BigInt(width(plan.min) - plan.subnetLen);

const nth = (plan: AddressPlan, n: bigint): IpPrefix =>
  prefix(addToIp(plan.min, n * sizeOf(plan)), plan.subnetLen);

interface Gap {
  /** Number of the first free subnet, counted from the first of the plan. */
  readonly from: bigint;
  readonly count: bigint;
}

/** The runs of free subnets, in order. */
function gapsOf(plan: AddressPlan, taken: readonly IpPrefix[]): readonly Gap[] {
  const size = sizeOf(plan);
  const min = toBigInt(plan.min);
  const end = (toBigInt(plan.max) - min) / size + 1n;
  const number = (ip: Ip): bigint => (toBigInt(ip) < min ? -1n : (toBigInt(ip) - min) / size);
  const runs = taken
    .filter(({ ip }) => ip.family === plan.min.family)
    .map((p) => ({ first: number(p.ip), last: number(lastIp(p)) }))
    .toSorted((a, b) => (a.first < b.first ? -1 : 1));
  const gaps: Gap[] = [];
  let at = 0n;
  for (const { first, last } of [...runs, { first: end, last: end }]) {
    const until = first < end ? first : end;
    if (until > at) gaps.push({ from: at, count: until - at });
    if (last + 1n > at) at = last + 1n;
  }
  return gaps;
}

/** From the system's generator, so that hosts that start together do not all want one subnet. */
function drawBigInt(below: bigint): bigint {
  const bits = below.toString(2).length;
  for (;;) {
    const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(bits / 8)));
    const n = BigInt.asUintN(bits, BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
    if (n < below) return n;
  }
}
