/** Questions to a namespace about its own addresses and routes, as rules and translation put them. */
import { contains, type Family, type Ip, ipFromBytes, isLoopback } from "../../net/ip.ts";
import { type Bits, asHost32, host32, known } from "../../nft/eval/bits.ts";
import { destinationOf, type Packet, sourceOf } from "../../nft/eval/packet.ts";
import { nameBits } from "../../nft/eval/registers.ts";
import type { FibQuestion, Interface } from "../../nft/eval/state.ts";
import { fibFlags } from "../../nft/foreign/instruction.ts";
import type { Address } from "../../rtnl/address.ts";
import type { Link } from "../../rtnl/link.ts";
import { lookUpFlow, matchingRoutes, routeType } from "../../rtnl/route-lookup.ts";
import type { Space } from "./realm.ts";

export const interfaceOf = ({ index, name }: Link): Interface => ({ index, name });

/** RTN_* of an address as a namespace sees it, by the most particular of its own addresses. */
export function addressType(space: Space, ip: Ip): number {
  if (ip.family === 4 ? (ip.bytes[0] ?? 0) >> 4 === 14 : ip.bytes[0] === 0xff) return routeType.multicast;
  if (ip.family === 4 && (ip.bytes[0] === 0 || ip.text === "255.255.255.255")) return routeType.broadcast;
  const fitting = space.local(ip.family).filter((r) => contains(r.dst, ip));
  return fitting.toSorted((a, b) => b.dst.bits - a.dst.bits)[0]?.type ?? routeType.unicast;
}

/** The index of no link. */
const NONE = 0;

/** What `fib` says in a rule. */
export const fibOf =
  (space: Space, { iif, oif }: { readonly iif?: Interface; readonly oif?: Interface }) =>
  ({ of, result, flags }: FibQuestion, packet: Packet, mark: Bits): Bits | undefined => {
    const address = of === "saddr" ? sourceOf(packet) : destinationOf(packet);
    if (address === undefined) return undefined;
    // A type that depends on the interface is another question.
    if (result === "type")
      return (flags & (fibFlags.iif | fibFlags.oif)) === 0 ? host32(addressType(space, address)) : undefined;
    const by = (flags & fibFlags.iif) !== 0 ? iif : (flags & fibFlags.oif) !== 0 ? oif : undefined;
    const found = linkTo(space, address, by, (flags & fibFlags.mark) !== 0 ? asHost32(mark) : NONE);
    if (found === undefined) return undefined;
    if ((flags & fibFlags.present) !== 0) return known(Uint8Array.of(found === NONE ? 0 : 1));
    if (result === "oif") return host32(found);
    return nameBits(space.links().find((l) => l.index === found)?.name ?? "");
  };

/** By which link a packet to there would leave; `NONE` if by none, or, of `by`, not by that one. */
function linkTo(
  space: Space,
  to: Ip,
  by: Interface | undefined,
  mark: number | undefined,
): number | undefined {
  if (mark === undefined) return undefined;
  const question = {
    to,
    ...(mark === 0 ? {} : { mark }),
    ...(by && to.family === 6 ? { oif: by.index } : {}),
  };
  const answer = lookUpFlow(space.route, question);
  if (answer.kind === "refused" || answer.route.type !== routeType.unicast) return NONE;
  if (by === undefined) return answer.route.oif ?? NONE;
  const links = [answer.route, ...matchingRoutes(space.route, question)].map((r) => r.oif);
  return links.includes(by.index) ? by.index : NONE;
}

interface OwnAddress {
  readonly family: Family;
  readonly hook: string;
  /** By which the packet leaves, or came in. */
  readonly link: Link | undefined;
  readonly nextHop?: Ip;
}

/** The address that masquerading or redirecting translates to; undefined if there is none, or it cannot be told. */
export function ownAddressOf(space: Space, kind: "masquerade" | "redirect", o: OwnAddress): Bits | undefined {
  const { family, hook, link, nextHop } = o;
  if (kind === "redirect" && hook === "output") return known(family === 4 ? LOOPBACK4 : LOOPBACK6);
  if (link === undefined) return undefined;
  const own = space
    .addresses()
    .filter((a) => a.index === link.index && a.prefix.ip.family === family && isGlobal(a));
  if (family === 6 && kind === "masquerade" && nextHop) {
    const answer = lookUpFlow(space.route, { to: nextHop, oif: link.index });
    return answer.kind === "route" && answer.route.src ? known(answer.route.src.bytes) : undefined;
  }
  const near = own.find((a) => kind === "masquerade" && nextHop && contains(a.prefix, nextHop));
  // Without an address of its own a link is left with one of another (inet_select_addr of net/ipv4/devinet.c).
  const others = space
    .addresses()
    .filter((a) => a.prefix.ip.family === 4 && isGlobal(a) && !isLoopback(a.prefix.ip))
    .toSorted((a, b) => a.index - b.index);
  const chosen = near ?? own[0] ?? (kind === "masquerade" && family === 4 ? others[0] : undefined);
  return chosen && known(chosen.prefix.ip.bytes);
}
const LOOPBACK4 = Uint8Array.of(127, 0, 0, 1);
const LOOPBACK6 = ipFromBytes(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)).bytes;
const isGlobal = (a: Address): boolean => !a.linkLocal && !a.tentative && !a.dadFailed;
