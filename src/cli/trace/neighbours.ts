/**
 * Which hardware address a next hop has: as the kernel has learned it, or as it would learn it now. The question that it would
 * ask is followed over the links to whoever has the address, and the answer back; neither is sent.
 */
import { type Ip, ipFromBytes } from "../../net/ip.ts";
import { type Mac, parseMac } from "../../net/mac.ts";
import { arpPacket, framed, type Packet, packetOf } from "../../nft/eval/packet.ts";
import type { Link } from "../../rtnl/link.ts";
import { listNeighbours, type Neighbour } from "../../rtnl/neighbour.ts";
import { routeType } from "../../rtnl/route-lookup.ts";
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
  const question = questionFor(source, to, mac);
  const arrivals = emit(
    j,
    at,
    sends(j, at, pathOf({ packet: framed(question, mac, everybody), mark: host32(0) })),
  );
  const answering = arrivals.filter((a) => a.kind === "stack" && hasAddress(a, to));
  const tried = answering.map((a) => ({ arrival: a, way: backAndForth(j, at, a, source, to) }));
  const reached = tried.find(({ way }) => way.length === 0)?.arrival;
  const found = reached?.link.mac;
  if (reached !== undefined && found !== undefined) {
    const arrival = reached;
    const twin = [at, ...arrivals.filter((a) => a.kind === "stack" && a !== arrival)].find(
      (p) => p.link.mac === found,
    );
    if (twin)
      return {
        kind: "unclear",
        text: `${arrival.link.name} of ${arrival.space.name} and ${twin.link.name} of ${twin.space.name} have the same hardware address ${found}`,
        where: at.space.name,
      };
    learn(j, arrival.path, mac);
    for (const { bridge, port } of reachedBy(j, at, arrival, source, to))
      j.learned.set(learnedKey(bridge, found), port);
    return {
      kind: "known",
      mac: found,
      text: `${to.text} is at ${found}, ${arrival.link.name} of ${arrival.space.name}`,
    };
  }
  const beyond = arrivals.find((a) => a.kind === "beyond");
  const [first] = tried;
  const hindrance = first?.way.find((o) => o.sure) ?? first?.way[0];
  if (hindrance?.sure === false)
    return {
      kind: "unclear",
      text: `${hindrance.text} (asking for the hardware address of ${to.text})`,
      where: hindrance.where,
    };
  if (beyond !== undefined)
    return {
      kind: "unclear",
      text: `whether anybody answers for ${to.text} in ${beyond.text ?? "what is not seen"}`,
      where: beyond.space.name,
    };
  if (hindrance)
    return {
      kind: "silent",
      text: `${hindrance.text} (asking for the hardware address of ${to.text})`,
      where: hindrance.where,
    };
  const perhaps = arrivals.flatMap((a) => a.path.obstacles).find((o) => !o.sure);
  if (perhaps && answering.length === 0 && arrivals.some((a) => a.path.blind))
    return { kind: "unclear", text: perhaps.text, where: perhaps.where };
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
  const certain = [...received.obstacles];
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

/** Whether the link answers for the address: IPv4 does for every address of the namespace unless it is told otherwise. */
function hasAddress({ space, link }: Place, ip: Ip): boolean {
  const own = space.addresses().filter((a) => a.prefix.ip.text === ip.text && !a.dadFailed);
  if (ip.family === 6) return own.some((a) => a.index === link.index && !a.tentative);
  if (addressType(space, ip) !== routeType.local || link.mac === undefined) return false;
  const levels = ["all", link.name].map((n) => Number(space.sysctl(`net/ipv4/conf/${n}/arp_ignore`) ?? 0));
  return Math.max(...levels) === 0 || own.some((a) => a.index === link.index);
}

/** Whether the link is one of those that need no hardware address. */
export const needsNone = (space: Space, link: Link): boolean =>
  link.mac === undefined || space.details(link.index)?.noArp === true;
