/**
 * Which hardware address a next hop has: as the kernel has learned it, or as it would learn it now. The question that it would
 * ask is followed over the links to whoever has the address, and the answer back; neither is sent.
 */
import { type Ip, ipFromBytes } from "../../net/ip.ts";
import { type Mac, parseMac } from "../../net/mac.ts";
import { arpPacket, framed, type Packet, packetOf } from "../../nft/eval/packet.ts";
import type { Link } from "../../rtnl/link.ts";
import { listNeighbours, type Neighbour } from "../../rtnl/neighbour.ts";
import { lookUpFlow, routeType } from "../../rtnl/route-lookup.ts";
import { learnedKey } from "./bridge.ts";
import { passArp } from "./chains.ts";
import { emit } from "./frames.ts";
import { passHook } from "./hooks.ts";
import { type Arrival, type Journey, type Path, pathOf, withPassage } from "./journey.ts";
import { addressType, fibOf, interfaceOf } from "./own.ts";
import type { Place, Space } from "./realm.ts";
import { host32 } from "../../nft/eval/bits.ts";

export type Resolved =
  | { readonly kind: "known"; readonly mac: Mac; readonly text: string }
  /** Nobody answers. */
  | { readonly kind: "silent"; readonly text: string; readonly where: string }
  | { readonly kind: "unclear"; readonly text: string; readonly where: string };

/** States in which the kernel sends to the address that it has. */
const USED: readonly Neighbour["state"][] = ["permanent", "noArp", "reachable", "stale", "delay", "probe"];
/** What may not be true any more: it is asked for again soon. */
const OLD: readonly Neighbour["state"][] = ["stale", "delay", "probe"];

export function resolve(j: Journey, at: Place, source: Ip, to: Ip): Resolved {
  const entry = listNeighbours(at.space.route, to.family, at.link.index).find((n) => n.ip.text === to.text);
  if (entry?.mac && USED.includes(entry.state) && !OLD.includes(entry.state))
    return { kind: "known", mac: entry.mac, text: `${to.text} is at ${entry.mac} (${entry.state})` };
  const asked = ask(j, at, source, to);
  const isOld = entry?.mac !== undefined && OLD.includes(entry.state);
  if (
    entry?.mac &&
    isOld &&
    (asked.kind === "unclear" || (asked.kind === "known" && asked.mac === entry.mac))
  )
    return { kind: "known", mac: entry.mac, text: `${to.text} is at ${entry.mac} (${entry.state})` };
  if (isOld)
    return {
      kind: "unclear",
      text: `what the kernel remembers of ${to.text}, which is not so any more (${entry.state})`,
      where: at.space.name,
    };
  return asked;
}

/** MAC address of everybody (IPv4), and of those who may have an IPv6 address (RFC 2464, section 7). */
function broadcastFor(to: Ip): Mac | undefined {
  const tail = [...to.bytes.slice(13)].map((b) => b.toString(16).padStart(2, "0"));
  const parsed = parseMac(to.family === 4 ? "ff:ff:ff:ff:ff:ff" : `33:33:ff:${tail.join(":")}`);
  return parsed.ok ? parsed.value : undefined;
}
/** ff02::1:ffXX:XXXX, RFC 4291, section 2.7.1. */
const solicited = (to: Ip): Ip =>
  ipFromBytes(Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...to.bytes.slice(13)));

/** ICMPv6 types of neighbour discovery (RFC 4861), sent with this hop limit. */
const SOLICITATION = 135;
const ADVERTISEMENT = 136;
const DISCOVERY_TTL = 255;

function ask(j: Journey, at: Place, source: Ip, to: Ip): Resolved {
  const everybody = broadcastFor(to);
  const { mac } = at.link;
  if (everybody === undefined || mac === undefined)
    return { kind: "unclear", text: `the hardware addresses behind ${at.link.name}`, where: at.space.name };
  const frame = framed(questionFor(source, to, mac), mac, everybody);
  const arrivals = emit(j, at, sends(j, at, pathOf({ packet: frame, mark: host32(0) })));
  const answering = arrivals.filter((a) => a.kind === "stack" && answers(a, to, source));
  const tried = answering.map((a) => ({ arrival: a, way: backAndForth(j, at, a, source, to) }));
  const reached = tried.flatMap(({ arrival, way }) => (way.length === 0 ? [arrival] : []));
  const [first, second] = reached;
  const found = first?.link.mac;
  if (first === undefined || found === undefined)
    return silence(at, to, { arrivals, ways: tried.map((t) => t.way) });
  const others = [at, ...arrivals.filter((a) => a.kind === "stack" && a !== first)];
  const twin = second ?? others.find((p) => p.link.mac === found);
  // Ipvlans share the address of the link below.
  if (twin && ![at, first, twin].some((p) => p.link.kind === "ipvlan"))
    return {
      kind: "unclear",
      text: `${placeText(first)} and ${placeText(twin)} have the same ${second ? `address ${to.text}` : `hardware address ${found}`}`,
      where: at.space.name,
    };
  learn(j, first.path, mac);
  for (const { bridge, port } of reachedBy(j, at, first, source, to))
    j.learned.set(learnedKey(bridge, found), port);
  return { kind: "known", mac: found, text: `${to.text} is at ${found}, ${placeText(first)}` };
}

const placeText = ({ space, link }: Place): string => `${link.name} of ${space.name}`;

interface Tried {
  readonly arrivals: readonly Arrival[];
  /** Of each who has the address, what stops the question or the answer. */
  readonly ways: readonly Path["obstacles"][];
}

/** Why nobody answers, or why that cannot be told. */
function silence(at: Place, to: Ip, { arrivals, ways }: Tried): Resolved {
  const why = (
    o: Path["obstacles"][number],
  ): Pick<Extract<Resolved, { kind: "silent" }>, "text" | "where"> => ({
    text: `${o.text} (asking for the hardware address of ${to.text})`,
    where: o.where,
  });
  const unsure = ways.find((way) => !way.some((o) => o.sure))?.[0];
  if (unsure) return { kind: "unclear", ...why(unsure) };
  const isOpen = (a: Arrival): boolean => !a.path.obstacles.some((o) => o.sure);
  const beyond = arrivals.find((a) => a.kind === "beyond" && isOpen(a));
  if (beyond)
    return {
      kind: "unclear",
      text: `whether anybody answers for ${to.text} in ${beyond.text ?? "what is not seen"}`,
      where: beyond.space.name,
    };
  const proxy = arrivals.find((a) => a.kind === "stack" && isOpen(a) && isProxy(a, to));
  if (proxy)
    return {
      kind: "unclear",
      text: `whether ${placeText(proxy)} answers for ${to.text} as a proxy`,
      where: proxy.space.name,
    };
  const lost = arrivals.filter((a) => a.kind !== "stack").map((a) => a.path.obstacles);
  const hindrance = [...ways, ...lost].flatMap((way) => way.find((o) => o.sure) ?? [])[0];
  if (hindrance) return { kind: "silent", ...why(hindrance) };
  const blind = arrivals.find((a) => a.path.blind)?.path.obstacles[0];
  if (blind) return { kind: "unclear", ...why(blind) };
  return {
    kind: "silent",
    text: `nobody behind ${at.link.name} has the address ${to.text}`,
    where: at.space.name,
  };
}

function questionFor(source: Ip, to: Ip, mac: Mac): Packet {
  if (to.family === 4) return arpPacket({ from: source, mac, for: to }, false);
  const transport = { kind: "icmp", type: SOLICITATION } as const;
  return packetOf({ source, destination: solicited(to), ttl: DISCOVERY_TTL, transport });
}

/** What stops the question on its way, or the answer; nothing if the address is told. */
function backAndForth(j: Journey, at: Place, arrival: Arrival, source: Ip, to: Ip): Path["obstacles"] {
  const received = receives(j, arrival, arrival.path);
  const certain = [...received.obstacles, ...refuses(arrival, to, source)];
  if (certain.length > 0) return certain;
  const { mac } = arrival.link;
  if (mac === undefined)
    return [{ sure: false, text: `${arrival.link.name} has no hardware address`, where: arrival.space.name }];
  const back = answerTo(j, arrival, mac, at, source, to);
  const home = back.find((a) => a.kind === "stack" && a.space === at.space && a.link.index === at.link.index);
  const stuck = home ?? back.find((a) => a.path.obstacles.length > 0);
  if (stuck === undefined)
    return [{ sure: false, text: `the way back to ${at.link.name}`, where: arrival.space.name }];
  return receives(j, stuck, stuck.path).obstacles;
}

function answerTo(j: Journey, arrival: Arrival, mac: Mac, at: Place, source: Ip, to: Ip): readonly Arrival[] {
  const packet =
    to.family === 4
      ? arpPacket({ from: to, mac, for: source }, true)
      : packetOf({
          source: to,
          destination: source,
          ttl: DISCOVERY_TTL,
          transport: { kind: "icmp", type: ADVERTISEMENT },
        });
  // The bridges have just seen the question come by.
  const { mac: home } = at.link;
  if (home === undefined) return [];
  learn(j, arrival.path, home);
  const frame = framed(packet, mac, home);
  const place = { space: arrival.space, link: arrival.link };
  return emit(j, place, sends(j, place, pathOf({ packet: frame, mark: host32(0) })));
}

/** The ports of bridges by which the answer came in: there they find its sender. */
function reachedBy(j: Journey, at: Place, arrival: Arrival, source: Ip, to: Ip): Path["entered"] {
  const { mac } = arrival.link;
  if (mac === undefined) return [];
  const back = answerTo(j, arrival, mac, at, source, to);
  return back.find((a) => a.space === at.space && a.link.index === at.link.index)?.path.entered ?? [];
}

function learn(j: Journey, path: Path, mac: Mac): void {
  for (const { bridge, port } of path.entered) j.learned.set(learnedKey(bridge, mac), port);
}

/** The chains of the sender and of the receiver: of ARP, or, of IPv6, those of every packet. */
const sends = (j: Journey, at: Place, path: Path): Path =>
  path.skb.packet.protocol === undefined
    ? passArp(at.space, at.link, "output", path)
    : discovery(j, at, ["output", "postrouting"], path);
const receives = (j: Journey, at: Place, path: Path): Path =>
  path.skb.packet.protocol === undefined
    ? passArp(at.space, at.link, "input", path)
    : discovery(j, at, ["prerouting", "input"], path);

function discovery(
  j: Journey,
  { space, link }: Place,
  hooks: readonly ("output" | "postrouting" | "prerouting" | "input")[],
  path: Path,
): Path {
  const own = interfaceOf(link);
  let on: Path = path;
  for (const hook of hooks) {
    const side = hook === "output" || hook === "postrouting" ? { oif: own } : { iif: own };
    const call = { hook, family: 6 as const, ...side, ownAddress: () => undefined, fib: fibOf(space, side) };
    // Connection tracking leaves neighbour discovery alone.
    on = withPassage(on, space, passHook(space, call, j.connections, { ...on.skb, untracked: true }));
  }
  return on;
}

/** Whether the link answers for the address, to somebody with that source (arp_process of net/ipv4/arp.c). */
function answers({ space, link }: Place, ip: Ip, source: Ip): boolean {
  const own = space.addresses().filter((a) => a.prefix.ip.text === ip.text && !a.dadFailed);
  if (ip.family === 6) return own.some((a) => a.index === link.index && !a.tentative);
  if (link.mac === undefined) return false;
  const conf = (key: string): number =>
    Math.max(...["all", link.name].map((n) => Number(space.sysctl(`net/ipv4/conf/${n}/${key}`) ?? 0)));
  if (addressType(space, ip) === routeType.local)
    return conf("arp_ignore") === 0 || own.some((a) => a.index === link.index);
  if (conf("proxy_arp") === 0) return false;
  const routed = lookUpFlow(space.route, { to: ip, from: source, iif: link.index });
  return (
    routed.kind === "route" && routed.route.type === routeType.unicast && routed.route.oif !== link.index
  );
}

/** What keeps the namespace from answering at all: ARP is answered to those alone from whom a packet would be taken. */
function refuses({ space, link }: Place, ip: Ip, source: Ip): Path["obstacles"] {
  if (ip.family === 6) return [];
  const routed = lookUpFlow(space.route, { to: ip, from: source, iif: link.index });
  const text = `${space.name} takes nothing from ${source.text} on ${link.name}`;
  if (routed.kind === "refused") return [{ sure: true, text, where: space.name }];
  const filter = ["all", link.name].some((n) => space.sysctl(`net/ipv4/conf/${n}/arp_filter`) === "1");
  return filter ? [{ sure: false, text: `arp_filter of ${link.name}`, where: space.name }] : [];
}

/** Whether somebody may answer in another's place, by a list that is not read here. */
const isProxy = ({ space, link }: Place, { family }: Ip): boolean =>
  family === 6
    ? ["all", link.name].some((n) => space.sysctl(`net/ipv6/conf/${n}/proxy_ndp`) === "1")
    : ["all", link.name].some((n) => space.sysctl(`net/ipv4/conf/${n}/proxy_arp_pvlan`) === "1");

/** Whether the link is one of those that need no hardware address. */
export const needsNone = (space: Space, link: Link): boolean =>
  link.mac === undefined || space.details(link.index)?.noArp === true;
