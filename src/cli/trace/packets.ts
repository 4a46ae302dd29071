/**
 * Packets at the network layer: how one is sent from a namespace, received in one, routed, and delivered or sent on; which
 * hooks it passes on each way, in the kernel's order.
 */
import { type Family, type Ip, isLoopback } from "../../net/ip.ts";
import { asHost32, type Bits, host32, isKnown } from "../../nft/eval/bits.ts";
import {
  destinationOf,
  familyOf,
  forwarded,
  framed,
  type Packet,
  packetOf,
  portsOf,
  protocols,
  sourceOf,
  type Transport,
  ttlOf,
} from "../../nft/eval/packet.ts";
import type { Hook } from "../../nft/model.ts";
import type { Link } from "../../rtnl/link.ts";
import {
  lookUpFlow,
  matchingRoutes,
  type Refusal,
  type RouteQuestion,
  routeType,
} from "../../rtnl/route-lookup.ts";
import type { Route } from "../../rtnl/route.ts";
import { asksForSender, listRules } from "../../rtnl/rule.ts";
import { destinationMac, emit, isForMany } from "./frames.ts";
import { passHook, type Skb } from "./hooks.ts";
import { type Arrival, type End, type Journey, pathOf, tell, tellAll } from "./journey.ts";
import { needsNone, resolve } from "./neighbours.ts";
import { fibOf, interfaceOf, ownAddressOf } from "./own.ts";
import type { Place, Space } from "./realm.ts";

export interface Sending {
  readonly space: Space;
  /** Absent: as the kernel chooses it. */
  readonly source?: Ip;
  readonly destination: Ip;
  readonly transport: Transport;
}

const DEFAULT_TTL = 64;
const dropped = (space: Space, by: string): End => ({ kind: "dropped", by, where: space.name });
const unclear = (space: Space, because: string): End => ({ kind: "unclear", because, where: space.name });

/** A program of the namespace sends a packet. */
export function send(j: Journey, { space, source, destination, transport }: Sending): End {
  const question = { to: destination, ...(source ? { from: source } : {}), ...portsIn(transport) };
  const found = lookUpFlow(space.route, question);
  if (found.kind === "refused") return dropped(space, refusalOf(found.errno, destination));
  const from = source ?? found.route.src;
  if (from === undefined) return dropped(space, `no address to send from to ${destination.text}`);
  const isOwn = found.route.type === routeType.local;
  if (!isOwn) {
    tell(j, space, "route", routeText(space, destination, found.route, question));
    const many = severalHops(space, question);
    if (many) return unclear(space, many);
  }
  const ttl = Number(space.sysctl("net/ipv4/ip_default_ttl") ?? DEFAULT_TTL);
  const packet = packetOf({ source: from, destination, ttl, transport });
  return sendOut(j, space, { packet, mark: host32(0) }, found.route);
}

function portsIn(t: Transport): Partial<RouteQuestion> {
  if (t.kind === "icmp") return {};
  const port = portNumber(t.destinationPort);
  return { protocol: protocols[t.kind], ...(port === undefined ? {} : { destinationPort: port }) };
}

const portNumber = (b: Bits): number | undefined =>
  isKnown(b) ? (b.bytes[0] ?? 0) * 256 + (b.bytes[1] ?? 0) : undefined;

function sendOut(j: Journey, space: Space, skb: Skb, first: Route): End {
  const lo = space.links().find((l) => l.loopback);
  const linkOf = (r: Route): Link | undefined =>
    r.type === routeType.local ? lo : space.links().find((l) => l.index === r.oif);
  let route = first;
  let link = linkOf(route);
  if (link === undefined) return dropped(space, "the route leads to no link");
  const taker = takersIn(space);
  if (taker) return unclear(space, taker);
  const passed = pass(j, space, "output", skb, { out: link });
  if ("kind" in passed) return passed;
  const [to, was] = [destinationOf(passed.packet), destinationOf(skb.packet)];
  if (to === undefined) return unclear(space, "where the packet is translated to");
  if (to.text !== was?.text || asHost32(passed.mark) !== asHost32(skb.mark)) {
    const again = routeAgain(space, passed);
    if ("kind" in again && again.kind !== "route") return again;
    route = again.route;
    link = linkOf(route);
    if (link === undefined) return dropped(space, "the route leads to no link");
    tell(j, space, "route", routeText(space, to, route, { to }));
  }
  const done = pass(j, space, "postrouting", passed, { out: link, nextHop: route.gateway ?? to });
  if ("kind" in done) return done;
  confirm(done);
  return transmit(j, { space, link }, route.gateway ?? to, done);
}

type Rerouted =
  { readonly kind: "route"; readonly route: Route } | Exclude<End, { kind: "delivered" | "leaves" }>;

function routeAgain(space: Space, skb: Skb): Rerouted {
  const question = questionOf(space, skb);
  if ("kind" in question) return question;
  const answer = lookUpFlow(space.route, question);
  return answer.kind === "route"
    ? answer
    : { kind: "dropped", by: refusalOf(answer.errno, question.to), where: space.name };
}

/** What routing is asked for a packet that is there. */
function questionOf(
  space: Space,
  { packet, mark }: Skb,
): RouteQuestion | Exclude<Rerouted, { kind: "route" }> {
  const [to, from] = [destinationOf(packet), sourceOf(packet)];
  if (to === undefined || from === undefined)
    return { kind: "unclear", because: "the packet's addresses are not known any more", where: space.name };
  const value = asHost32(mark);
  if (value === undefined && usesMarks(space, to.family))
    return {
      kind: "unclear",
      because: "the packet's mark is not known, and routing rules ask for it",
      where: space.name,
    };
  const ports = portsOf(packet);
  const port = ports && portNumber(ports.destination);
  return {
    to,
    from,
    ...(value === undefined || value === 0 ? {} : { mark: value }),
    ...(packet.protocol !== undefined && ports ? { protocol: packet.protocol } : {}),
    ...(port === undefined ? {} : { destinationPort: port }),
  };
}

const usesMarks = (space: Space, family: Family): boolean =>
  listRules(space.route, family).some((r) => r.mark !== undefined);

/** Several next hops, and rules about the sender: which route is taken depends on what is not known. */
function severalHops(space: Space, question: RouteQuestion): string | undefined {
  if (asksForSender(space.route, question.to.family))
    return "a routing rule that asks for the sender's user or port";
  const hops = matchingRoutes(space.route, question).length;
  return hops > 1 ? `a route to ${question.to.text} with ${hops} next hops` : undefined;
}

function routeText(space: Space, to: Ip, route: Route, question: RouteQuestion): string {
  const by = space.links().find((l) => l.index === route.oif)?.name ?? "no link";
  const [entered] = matchingRoutes(space.route, question);
  const table = (entered ?? route).table;
  const dst = entered === undefined || entered.dst.bits === 0 ? "default" : entered.dst.text;
  return [
    `${to.text} by ${dst}`,
    ...(route.gateway ? [`via ${route.gateway.text}`] : []),
    `dev ${by}`,
    ...(table === 254 ? [] : [`table ${table}`]),
    ...(route.src ? [`from ${route.src.text}`] : []),
  ].join(" ");
}

const refusals: Readonly<Record<Refusal, string>> = {
  ENETUNREACH: "no route",
  EHOSTUNREACH: "an unreachable route, or none,",
  EACCES: "a prohibiting route",
  EINVAL: "a blackhole route",
  EXDEV: "a source address that is not expected",
};
const refusalOf = (errno: Refusal, to: Ip): string => `${refusals[errno]} to ${to.text}`;

interface Sides {
  readonly in?: Link;
  readonly out?: Link;
  readonly nextHop?: Ip;
}

/** The packet behind a hook, or how it ends there. */
function pass(
  j: Journey,
  space: Space,
  hook: Hook,
  skb: Skb,
  sides: Sides,
): Skb | Exclude<End, { kind: "delivered" }> {
  const family = familyOf(skb.packet) ?? 4;
  const iif = sides.in && interfaceOf(sides.in);
  const oif = sides.out && interfaceOf(sides.out);
  const ends = { ...(iif ? { iif } : {}), ...(oif ? { oif } : {}) };
  const call = {
    hook,
    family,
    ...ends,
    ownAddress: (kind: "masquerade" | "redirect") =>
      ownAddressOf(space, kind, {
        family,
        hook,
        link: sides.out ?? sides.in,
        ...(sides.nextHop ? { nextHop: sides.nextHop } : {}),
      }),
    fib: fibOf(space, ends),
  };
  const passed = passHook(space, call, j.connections, skb);
  for (const note of passed.notes) tell(j, space, note.kind, note.text);
  const sure = passed.obstacles.findIndex((o) => o.sure);
  const before = sure < 0 ? passed.obstacles : passed.obstacles.slice(0, sure);
  for (const o of before) j.doubts.push({ ...o, packet: j.phase });
  const drop = passed.obstacles[sure];
  if (drop) return { kind: "dropped", by: drop.text, where: drop.where };
  if (passed.skb === undefined) {
    const last = before.at(-1);
    return { kind: "unclear", because: last?.text ?? "what rules make of the packet", where: space.name };
  }
  return passed.skb;
}

const confirm = ({ tracking }: Skb): void => {
  if (tracking) tracking.connection.confirmed = true;
};

/** What takes packets out of the way that routing and rules give them. */
const takersIn = (space: Space): string | undefined => {
  const has = space.ipsec();
  if (has !== false) return has ? "policies of IPsec" : "whether there are policies of IPsec";
  return space.services() ? "services of IPVS" : undefined;
};

/** The packet goes out by a link to its next hop. */
function transmit(j: Journey, at: Place, nextHop: Ip, skb: Skb): End {
  const { space, link } = at;
  if (link.loopback) return receive(j, { space, link }, skb, { prerouted: false, loop: true });
  const source = sourceOf(skb.packet);
  if (!link.up) return dropped(space, `link ${link.name} is down`);
  let packet: Packet = skb.packet;
  if (!needsNone(space, link)) {
    const resolved = source && resolve(j, at, sourceFor(space, link, source, nextHop), nextHop);
    if (resolved === undefined) return unclear(space, "the packet's source is not known");
    if (resolved.kind === "silent") return { kind: "dropped", by: resolved.text, where: resolved.where };
    if (resolved.kind === "unclear")
      return { kind: "unclear", because: resolved.text, where: resolved.where };
    tell(j, space, "neighbour", resolved.text);
    packet = framed(packet, link.mac, resolved.mac);
  }
  return arrive(j, at, emit(j, at, pathOf({ ...skb, packet })));
}

/** With which address a neighbour is asked for: of IPv6 any of the link, of IPv4 usually the packet's own. */
function sourceFor(space: Space, link: Link, source: Ip, to: Ip): Ip {
  const own = space.addresses().filter((a) => a.index === link.index && a.prefix.ip.family === to.family);
  if (own.some((a) => a.prefix.ip.text === source.text)) return source;
  return own[0]?.prefix.ip ?? source;
}

/** From what the frame comes to, on to the next namespace's network layer. */
export function arrive(j: Journey, from: Place, arrivals: readonly Arrival[]): End {
  const stack = arrivals.find((a) => a.kind === "stack" && !a.path.obstacles.some((o) => o.sure));
  const beyond = arrivals.find((a) => a.kind === "beyond" && !a.path.obstacles.some((o) => o.sure));
  const chosen = stack ?? beyond ?? arrivals.find((a) => a.path.obstacles.length > 0) ?? arrivals[0];
  if (chosen === undefined)
    return dropped(from.space, `nobody behind ${from.link.name} has that hardware address`);
  tellAll(j, chosen.path.notes);
  const sure = chosen.path.obstacles.find((o) => o.sure);
  if (sure) return { kind: "dropped", by: sure.text, where: sure.where };
  for (const o of chosen.path.obstacles) j.doubts.push({ ...o, packet: j.phase });
  if (chosen.path.blind)
    return unclear(chosen.space, chosen.path.obstacles.at(-1)?.text ?? "what rules make of the frame");
  const { space, link, path } = chosen;
  if (chosen.kind === "beyond")
    return {
      kind: "leaves",
      space,
      link,
      skb: path.skb,
      text: chosen.text ?? "what is not seen",
      ...(path.vlan === undefined ? {} : { vlan: path.vlan }),
    };
  return receive(j, { space, link }, path.skb, { prerouted: chosen.prerouted === true, loop: false });
}

interface Reception {
  /** The hooks for what comes in were passed on a bridge. */
  readonly prerouted: boolean;
  /** It comes from this namespace itself. */
  readonly loop: boolean;
}

/** A packet comes in by a link. */
export function receive(j: Journey, at: Place, skb: Skb, { prerouted, loop }: Reception): End {
  const { space, link } = at;
  const family = familyOf(skb.packet);
  if (family === undefined) return dropped(space, "it is no packet of IP");
  if (family === 6 && space.sysctl(`net/ipv6/conf/${link.name}/disable_ipv6`) === "1")
    return dropped(space, `IPv6 is off on ${link.name}`);
  const taker = takersIn(space);
  if (taker) return unclear(space, taker);
  const passed = prerouted ? skb : pass(j, space, "prerouting", skb, { in: link });
  if ("kind" in passed) return passed;
  if (loop) return deliver(j, at, passed);
  const question = questionOf(space, passed);
  if ("kind" in question) return question;
  const asked = { ...question, iif: link.index };
  const answer = lookUpFlow(space.route, asked);
  if (answer.kind === "refused") return dropped(space, whyRefused(space, link, question, answer.errno));
  const { route } = answer;
  if (
    route.type === routeType.local ||
    route.type === routeType.broadcast ||
    route.type === routeType.multicast
  )
    return deliver(j, at, passed);
  const many = severalHops(space, asked);
  if (many) return unclear(space, many);
  if (family === 6 && space.sysctl("net/ipv6/conf/all/forwarding") !== "1")
    return dropped(space, "IPv6 forwarding is off (net.ipv6.conf.all.forwarding)");
  const mac = destinationMac(pathOf(passed));
  if (mac && isForMany(mac)) return dropped(space, "a frame for everybody is not sent on");
  tell(j, space, "route", routeText(space, question.to, route, asked));
  return forward(j, at, passed, route);
}

function forward(j: Journey, { space, link: from }: Place, skb: Skb, route: Route): End {
  const link = space.links().find((l) => l.index === route.oif);
  const to = destinationOf(skb.packet);
  if (link === undefined || to === undefined) return dropped(space, "the route leads to no link");
  if (ttlOf(skb.packet) <= 1) return dropped(space, "it has passed too many routers");
  const onward = { ...skb, packet: forwarded(skb.packet) };
  const passed = pass(j, space, "forward", onward, { in: from, out: link });
  if ("kind" in passed) return passed;
  const nextHop = route.gateway ?? to;
  const done = pass(j, space, "postrouting", passed, { in: from, out: link, nextHop });
  if ("kind" in done) return done;
  confirm(done);
  return transmit(j, { space, link }, nextHop, done);
}

function deliver(j: Journey, { space, link }: Place, skb: Skb): End {
  const passed = pass(j, space, "input", skb, { in: link });
  if ("kind" in passed) return passed;
  confirm(passed);
  return { kind: "delivered", space, link, skb: passed };
}

/** Why the kernel does not route what comes in: it says only that. */
function whyRefused(space: Space, link: Link, { to, from, ...rest }: RouteQuestion, errno: Refusal): string {
  const conf = (name: string, key: string): string => space.sysctl(`net/ipv4/conf/${name}/${key}`) ?? "0";
  if (to.family === 6) return refusalOf(errno, to);
  if (errno === "EACCES") return refusalOf(errno, to);
  const sent = lookUpFlow(space.route, { to, ...rest });
  const isOwn = sent.kind === "route" && sent.route.type === routeType.local;
  if (!isOwn && conf(link.name, "forwarding") !== "1")
    return `forwarding is off (net.ipv4.conf.${link.name}.forwarding)`;
  if (isLoopback(to) && conf(link.name, "route_localnet") !== "1" && conf("all", "route_localnet") !== "1")
    return `${to.text} from outside (net.ipv4.conf.${link.name}.route_localnet is 0)`;
  if (from) {
    const back = lookUpFlow(space.route, { to: from });
    if (back.kind === "route" && back.route.type === routeType.local)
      return `its source ${from.text} is an address of ${space.name} itself`;
    const filter = Math.max(Number(conf("all", "rp_filter")), Number(conf(link.name, "rp_filter")));
    const isBack = back.kind === "route" && back.route.oif === link.index;
    if (filter > 0 && !isBack && sent.kind === "route")
      return `rp_filter of ${link.name}: the way back to ${from.text} is ${back.kind === "route" ? "another" : "not there"}`;
  }
  if (sent.kind === "refused") return refusalOf(sent.errno, to);
  return `${space.name} does not take a packet from ${from?.text ?? "?"} to ${to.text} on ${link.name} (${errno})`;
}
