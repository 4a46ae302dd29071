/**
 * Asks the kernel where it would send a packet, with everything that routing rules look at: where the packet comes from, its
 * mark, its ports (RTM.GETROUTE, linux/rtnetlink.h). A packet that comes in by a link is checked as a real one is: its source
 * address, and whether this namespace forwards.
 */
import { type Ip, hostPrefix } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, fixedAttr } from "../wire/attrs.ts";
import { be16, u32, u8, viewOf } from "../wire/fixed.ts";
import { addressFamily } from "./address.ts";
import { decodeRoutes, RTM, rtmsg, type Route } from "./route.ts";

const questionAttrs = attrs("RTA", {
  dst: [1, bytes],
  src: [2, bytes],
  iif: [3, fixedAttr(u32)],
  oif: [4, fixedAttr(u32)],
  mark: [16, fixedAttr(u32)],
  protocol: [27, fixedAttr(u8)],
  sourcePort: [28, fixedAttr(be16)],
  destinationPort: [29, fixedAttr(be16)],
});

/** RTM_F_LOOKUP_TABLE; RTM_F_FIB_MATCH: the route as it was entered (Linux 4.14). */
const FLAG = { lookUpTable: 0x1000, match: 0x2000 } as const;

/** RTN_* (linux/rtnetlink.h). */
export const routeType = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;

export interface RouteQuestion {
  readonly to: Ip;
  readonly from?: Ip;
  /** Index of the link that the packet came in by; absent: it begins here. */
  readonly iif?: number;
  readonly oif?: number;
  readonly mark?: number;
  /** IANA's number; 6, 17, 1 or 58. */
  readonly protocol?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export type RouteAnswer =
  | { readonly kind: "route"; readonly route: Route }
  /** There is none, or one that refuses: the name of the error as a sender would get it. */
  | { readonly kind: "refused"; readonly errno: Refusal };
export type Refusal = (typeof refusals)[number];

const refusals = ["ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "EXDEV"] as const;
const refusalOf: Readonly<Record<number, Refusal>> = {
  [routeType.blackhole]: "EINVAL",
  [routeType.unreachable]: "EHOSTUNREACH",
  [routeType.prohibit]: "EACCES",
};

function ask(socket: NetlinkSocket, q: RouteQuestion, flags: number): readonly Route[] | Refusal {
  const { to, from, ...rest } = q;
  const tail = questionAttrs.encode({ dst: to.bytes, ...(from ? { src: from.bytes } : {}), ...rest });
  const body = new Uint8Array(rtmsg.size + tail.length);
  rtmsg.set(viewOf(body), 0, {
    family: addressFamily(to),
    dstBits: hostPrefix(to).bits,
    srcBits: from ? hostPrefix(from).bits : 0,
    tos: 0,
    table: 0,
    protocol: 0,
    scope: 0,
    type: 0,
    flags,
  });
  body.set(tail, rtmsg.size);
  const what = `RTM_GETROUTE ${from ? `${from.text} to ` : ""}${to.text}`;
  const answer = socket.tryRequest({ type: RTM.GETROUTE, flags: 0, body, what }, ...refusals);
  return typeof answer === "string" ? answer : answer.flatMap(decodeRoutes);
}

/** Where the packet goes: the next hop, the link and, of one that begins here, its source address. */
export function lookUpFlow(socket: NetlinkSocket, question: RouteQuestion): RouteAnswer {
  // IPv6 always tells the table, and refuses the flag.
  const answer = ask(socket, question, question.to.family === 4 ? FLAG.lookUpTable : 0);
  if (typeof answer === "string") return { kind: "refused", errno: answer };
  const [route] = answer;
  if (route === undefined) return { kind: "refused", errno: "ENETUNREACH" };
  const errno = refusalOf[route.type];
  return errno === undefined ? { kind: "route", route } : { kind: "refused", errno };
}

/** The route that decides, as somebody entered it; of several next hops, all. None if the kernel does not say. */
export function matchingRoutes(socket: NetlinkSocket, question: RouteQuestion): readonly Route[] {
  const answer = ask(socket, question, FLAG.match);
  return typeof answer === "string" ? [] : answer;
}
