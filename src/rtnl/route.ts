import {
  defaultRoute,
  type Family,
  hostPrefix,
  type Ip,
  ipFromBytes,
  type IpPrefix,
  prefix,
} from "../net/ip.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { align4, attrs, bytes, DecodeError, fixedAttr } from "../wire/attrs.ts";
import { struct, u16, u32, u8, viewOf } from "../wire/fixed.ts";
import { lastTemplate, template } from "../wire/template.ts";
import { addressFamily } from "./address.ts";

/** Routes (`struct rtmsg` and RTA_*, linux/rtnetlink.h). */
export const RTM = { NEWROUTE: 24, DELROUTE: 25, GETROUTE: 26 } as const;
export const rtmsg = struct("rtmsg", 12, {
  family: u8,
  dstBits: u8,
  srcBits: u8,
  tos: u8,
  table: u8,
  protocol: u8,
  scope: u8,
  type: u8,
  flags: u32,
});
const metrics = attrs("RTAX", { mtu: [2, fixedAttr(u32)], advmss: [8, fixedAttr(u32)] });
export const routeAttrs = attrs("RTA", {
  dst: [1, bytes],
  oif: [4, fixedAttr(u32)],
  gateway: [5, bytes],
  priority: [6, fixedAttr(u32)],
  prefSrc: [7, bytes],
  metrics: [8, metrics],
  multipath: [9, bytes],
  table: [15, fixedAttr(u32)],
  via: [18, bytes],
});

/** Where `dstBits` and `table` stand in `rtmsg`. */
const DST_BITS_AT = 1;
export const TABLE_AT = 4;

export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
const RT_TABLE_COMPAT = 252;
/** Values of `scope` (linux/rtnetlink.h). */
export const routeScope = { global: 0, link: 253, host: 254 } as const;
const RTN_UNICAST = 1;
/**
 * Values of `protocol` (RTPROT_*, linux/rtnetlink.h): who made a route. `boot` is what the `ip` program writes for a person;
 * routes that go with a link of ours need no number of their own.
 */
export const routeProtocol = { redirect: 1, kernel: 2, boot: 3, routerAdvertisement: 9 } as const;
const RTNH_F_ONLINK = 4;
const RTM_F_LOOKUP_TABLE = 0x1000;

export interface Route {
  readonly dst: IpPrefix;
  readonly oif?: number;
  readonly gateway?: Ip;
  readonly src?: Ip;
  readonly priority?: number;
  readonly table: number;
  readonly scope: number;
  readonly mtu?: number;
  readonly advmss?: number;
  /** 1 is an ordinary route (RTN_UNICAST). */
  readonly type: number;
  /** Who made it, of `routeProtocol` or another program's number. */
  readonly protocol: number;
  /** The gateway is on the link even if no route says so. */
  readonly onLink?: true;
}

/** What a new route says; everything absent is the kernel's default. */
export type NewRoute = Partial<Route> & { readonly dst: IpPrefix };

/** A message with a route of one next hop; of several, the first. */
export const decodeRoute = (m: Pick<Message, "body">): Route => decodeRoutes(m)[0] as Route;

/** The routes of one message: each next hop is one of its own. */
export function decodeRoutes(m: Pick<Message, "body">): readonly Route[] {
  const head = rtmsg.get(viewOf(m.body), 0);
  const a = routeAttrs.decode(m.body.subarray(rtmsg.size));
  const family = head.family === 2 ? 4 : 6;
  const route = {
    dst: a.dst ? prefix(ipFromBytes(a.dst), head.dstBits) : defaultRoute(family),
    ...(a.oif ? { oif: a.oif } : {}),
    ...gatewayIn(a, head.flags),
    ...(a.prefSrc ? { src: ipFromBytes(a.prefSrc) } : {}),
    ...(a.priority ? { priority: a.priority } : {}),
    table: a.table ?? head.table,
    scope: head.scope,
    ...(a.metrics?.mtu ? { mtu: a.metrics.mtu } : {}),
    ...(a.metrics?.advmss ? { advmss: a.metrics.advmss } : {}),
    type: head.type,
    protocol: head.protocol,
  };
  return a.multipath ? nextHops(a.multipath).map((hop) => ({ ...route, ...hop })) : [route];
}

/** `struct rtnexthop`; its attributes follow, as many bytes as `length` says beyond its own eight. */
const rtnexthop = struct("rtnexthop", 8, { length: u16, flags: u8, hops: u8, oif: u32 });

type NextHop = Pick<Route, "oif" | "gateway" | "onLink">;

function nextHops(raw: Uint8Array): readonly NextHop[] {
  const found: NextHop[] = [];
  for (let at = 0; at + rtnexthop.size <= raw.length;) {
    const { length, flags, oif } = rtnexthop.get(viewOf(raw), at);
    if (length < rtnexthop.size || at + length > raw.length)
      throw new DecodeError(`RTA.multipath: the next hop at offset ${at} claims ${length} bytes`);
    const attributes = routeAttrs.decode(raw.subarray(at + rtnexthop.size, at + length));
    found.push({ oif, ...gatewayIn(attributes, flags) });
    at += align4(length);
  }
  return found;
}

/** `via` is a gateway of the other family: `struct rtvia`, two bytes of family before the address. */
function gatewayIn({ gateway, via }: ReturnType<typeof routeAttrs.decode>, flags: number): NextHop {
  const address = gateway ?? via?.subarray(2);
  return {
    ...(address ? { gateway: ipFromBytes(address) } : {}),
    ...(flags & RTNH_F_ONLINK ? { onLink: true as const } : {}),
  };
}

function gatewayAttrs({ dst, gateway }: NewRoute): Parameters<typeof routeAttrs.encode>[0] {
  if (gateway === undefined) return {};
  if (gateway.family === dst.ip.family) return { gateway: gateway.bytes };
  return { via: Uint8Array.of(addressFamily(gateway), 0, ...gateway.bytes) };
}

function body(r: NewRoute): Uint8Array {
  const table = r.table ?? RT_TABLE_MAIN;
  const type = r.type ?? RTN_UNICAST;
  const numbers = { ...(r.mtu ? { mtu: r.mtu } : {}), ...(r.advmss ? { advmss: r.advmss } : {}) };
  const tail = routeAttrs.encode({
    ...(r.dst.bits > 0 ? { dst: r.dst.ip.bytes } : {}),
    ...(r.oif ? { oif: r.oif } : {}),
    ...gatewayAttrs(r),
    ...(r.priority === undefined ? {} : { priority: r.priority }),
    ...(r.src ? { prefSrc: r.src.bytes } : {}),
    ...(r.mtu || r.advmss ? { metrics: numbers } : {}),
    ...(table > 255 ? { table } : {}),
  });
  const out = new Uint8Array(rtmsg.size + tail.length);
  rtmsg.set(viewOf(out), 0, {
    family: addressFamily(r.dst.ip),
    dstBits: r.dst.bits,
    srcBits: 0,
    tos: 0,
    table: table > 255 ? RT_TABLE_COMPAT : table,
    protocol: r.protocol ?? routeProtocol.boot,
    scope: r.scope ?? (r.gateway || type !== RTN_UNICAST ? routeScope.global : routeScope.link),
    type,
    flags: r.onLink ? RTNH_F_ONLINK : 0,
  });
  out.set(tail, rtmsg.size);
  return out;
}

const show = (r: NewRoute): string => `${r.dst.text}${r.gateway ? ` via ${r.gateway.text}` : ""}`;

/** The form of which there are many: a prefix by a gateway of its family on a link, and nothing that is rare. */
type PlainRoute = NewRoute & { readonly gateway: Ip };

const isPlain = (r: NewRoute): r is PlainRoute =>
  r.gateway?.family === r.dst.ip.family &&
  r.dst.bits > 0 &&
  r.priority === undefined &&
  r.src === undefined &&
  r.mtu === undefined &&
  r.advmss === undefined;

const templateOf = lastTemplate<PlainRoute>(
  (a, b) =>
    a.dst.bits === b.dst.bits &&
    a.gateway.family === b.gateway.family &&
    a.oif === b.oif &&
    a.onLink === b.onLink &&
    a.protocol === b.protocol &&
    a.table === b.table &&
    a.scope === b.scope &&
    a.type === b.type,
  (r) => template(body(r), rtmsg.size, routeAttrs.table.dst[0], routeAttrs.table.gateway[0]),
);

const bodyOf = (r: NewRoute): Uint8Array =>
  isPlain(r) ? templateOf(r).fill(r.dst.ip.bytes, r.gateway.bytes) : body(r);

const routeRequest = (verb: "NEWROUTE" | "DELROUTE", flags: number, route: NewRoute): Request => ({
  type: RTM[verb],
  flags,
  body: bodyOf(route),
  what: `RTM_${verb} ${show(route)}`,
});

/** The request of `addRoute`, for those who send many; refused with EEXIST if there is one. */
export const routeAddition = (route: NewRoute): Request =>
  routeRequest("NEWROUTE", NLM_F.CREATE | NLM_F.EXCL, route);

/** A request for a route in place of the one with the same destination, metric and table; no packet meets neither. */
export const routeReplacement = (route: NewRoute): Request =>
  routeRequest("NEWROUTE", NLM_F.CREATE | NLM_F.REPLACE, route);

/** The request of `removeRoute`; refused with ESRCH if there is none. */
export const routeRemoval = (route: NewRoute): Request => routeRequest("DELROUTE", 0, route);

/** Adds a route. Returns false if there is one with the same destination, metric and table. */
export const addRoute = (socket: NetlinkSocket, route: NewRoute): boolean =>
  socket.tryRequest(routeAddition(route), "EEXIST") !== "EEXIST";

/** As `addRoute`, but beside a route to the same destination: the kernel then has two next hops or two routes. */
export function appendRoute(socket: NetlinkSocket, route: NewRoute): boolean {
  const request = routeRequest("NEWROUTE", NLM_F.CREATE | NLM_F.APPEND, route);
  return socket.tryRequest(request, "EEXIST") !== "EEXIST";
}

/**
 * Removes the first route that agrees with everything `route` says, its protocol included (`boot` unless it says
 * otherwise). Returns false if there was none.
 */
export function removeRoute(socket: NetlinkSocket, route: NewRoute): boolean {
  return typeof socket.tryRequest(routeRemoval(route), "ESRCH", "ENODEV") !== "string";
}

/** The kernel's own messages, for captures; of one table up to 255, or of all. */
export function routeDump(socket: NetlinkSocket, family: Family, table = 0): Message[] {
  const head = new Uint8Array(rtmsg.size);
  head[0] = family === 4 ? 2 : 10;
  head[TABLE_AT] = table;
  return socket.dump({ type: RTM.GETROUTE, flags: 0, body: head, what: `RTM_GETROUTE IPv${family}` });
}

/** Every unicast route of the namespace, of all tables; each next hop is a route of its own. */
export const listRoutes = (socket: NetlinkSocket, family: Family): Route[] =>
  routeDump(socket, family)
    .flatMap(decodeRoutes)
    .filter((r) => r.type === RTN_UNICAST);

/** Unicast routes to everywhere, of the main table. The others are not looked at: a router has a million of them. */
export const listDefaultRoutes = (socket: NetlinkSocket, family: Family): Route[] =>
  routeDump(socket, family, RT_TABLE_MAIN)
    .filter(({ body }) => body[DST_BITS_AT] === 0)
    .flatMap(decodeRoutes)
    .filter((r) => r.type === RTN_UNICAST && r.table === RT_TABLE_MAIN);

/** The route that a packet to `to` takes from here, or undefined if there is none. */
export function lookUpRoute(socket: NetlinkSocket, to: Ip): Route | undefined {
  const tail = routeAttrs.encode({ dst: to.bytes });
  const out = new Uint8Array(rtmsg.size + tail.length);
  rtmsg.set(viewOf(out), 0, {
    family: addressFamily(to),
    dstBits: hostPrefix(to).bits,
    srcBits: 0,
    tos: 0,
    table: 0,
    protocol: 0,
    scope: 0,
    type: 0,
    // IPv6 always tells the table, and refuses the flag.
    flags: to.family === 4 ? RTM_F_LOOKUP_TABLE : 0,
  });
  out.set(tail, rtmsg.size);
  const request = { type: RTM.GETROUTE, flags: 0, body: out, what: `RTM_GETROUTE ${to.text}` };
  const answer = socket.tryRequest(request, "ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL");
  return typeof answer === "string" || answer[0] === undefined ? undefined : decodeRoute(answer[0]);
}
