/**
 * A trace: the first packet of a connection from a namespace, the answer to it, and of TCP the packet after that, each followed
 * as far as it goes. The worst of what becomes of them is the answer; a drop is certain whatever else is not.
 */
import type { Ip } from "../../net/ip.ts";
import { big16, type Bits, slice, splice, unknown } from "../../nft/eval/bits.ts";
import {
  destinationOf,
  type Packet,
  packetOf,
  portsOf,
  sourceOf,
  tcpFlags,
  type Transport,
} from "../../nft/eval/packet.ts";
import { listListeners } from "../../diag/listeners.ts";
import { routeType } from "../../rtnl/route-lookup.ts";
import type { Answer, Protocol } from "./answer.ts";
import { existingFlows } from "./existing.ts";
import { intake } from "./frames.ts";
import { type End, type Journey, pathOf, tell } from "./journey.ts";
import { addressType } from "./own.ts";
import { arrive, send } from "./packets.ts";
import type { Realm, Space } from "./realm.ts";

export interface Question {
  readonly key: string;
  readonly netns: string;
  readonly from: Space;
  readonly to: Ip;
  readonly port?: number;
  readonly protocol: Protocol;
}

type Verdict = Pick<Answer, "outcome" | "packet" | "by" | "where" | "listening" | "ends">;

export function trace(realm: Realm, q: Question): Answer {
  const j: Journey = {
    realm,
    connections: new Map(),
    learned: new Map(),
    steps: [],
    doubts: [],
    phase: "first",
  };
  const aim = q.port === undefined ? q.to.text : `${q.to.text} port ${q.port}`;
  tell(j, q.from, "start", `a program sends ${q.protocol} to ${aim}`);
  const first = send(j, { space: q.from, destination: q.to, transport: firstOf(q) });
  const verdict = followUp(j, q, first);
  const address = "skb" in first ? (firstSource(j, q) ?? null) : null;
  return {
    ...verdict,
    from: { key: q.key, netns: q.netns, address },
    to: { address: q.to.text, port: q.port ?? null, protocol: q.protocol },
    steps: j.steps,
    existing: existingFlows(realm, { ...q, ...(address === null ? {} : { address }) }),
  };
}

/** The kernel chooses it among these (net.ipv4.ip_local_port_range): the bits that all of them have are known. */
function sourcePort(space: Space): Bits {
  const [low = 0, high = 0] = (space.sysctl("net/ipv4/ip_local_port_range") ?? "").split(/\s+/).map(Number);
  if (!(low > 0 && high >= low)) return unknown(2);
  const free = 2 ** (32 - Math.clz32(low ^ high)) - 1;
  const fixed = big16(0xffff & ~free).bytes;
  return { bytes: big16(low & ~free).bytes, known: fixed };
}

function firstOf({ from, protocol, port = 0, to }: Question): Transport {
  if (protocol === "icmp") return { kind: "icmp", type: to.family === 4 ? 8 : 128 };
  const ports = { sourcePort: sourcePort(from), destinationPort: big16(port) };
  return { kind: protocol, ...ports, ...(protocol === "tcp" ? { flags: tcpFlags.syn } : {}) };
}

/** The address that the connection has at its origin. */
const firstSource = (j: Journey, { from }: Question): string | undefined => {
  const [connection] = j.connections.get(from.id) ?? [];
  const bits = connection?.original.source.bytes;
  return bits && from.addresses().find((a) => Buffer.compare(a.prefix.ip.bytes, bits) === 0)?.prefix.ip.text;
};

/** What becomes of it all, once the first packet has ended so. */
function followUp(j: Journey, q: Question, first: End): Verdict {
  const stopped = stop(j, first);
  if (stopped) return { ...stopped, listening: null, ends: null };
  const reached = first as Reached;
  const ends = first.kind === "leaves" ? "leaves" : "delivered";
  const listening = first.kind === "delivered" ? listens(first, q) : null;
  const ignored = first.kind === "delivered" ? ignoresEcho(first, q) : undefined;
  if (ignored)
    return {
      outcome: "dropped",
      packet: "first",
      by: ignored,
      where: reached.space.name,
      listening: null,
      ends: null,
    };
  tell(j, reached.space, "end", endText(reached, q, listening));
  const done = { by: endText(reached, q, listening), where: reached.space.name, listening, ends } as const;
  // Who refuses a datagram says so by another protocol.
  if (q.protocol === "udp" && listening === false)
    return certain(j, { outcome: "passes", packet: "first", ...done });
  j.phase = "answer";
  const back = answer(j, reached, q, listening);
  const lost = stop(j, back) ?? misled(back, q);
  if (lost) return { ...lost, listening, ends };
  if (q.protocol === "tcp" && listening !== false) {
    j.phase = "next";
    const source = sourceOf((back as Reached).skb.packet);
    const destination = destinationOf((back as Reached).skb.packet);
    const ports = portsOf((back as Reached).skb.packet);
    if (source && destination && ports) {
      const flags = tcpFlags.ack;
      const transport = {
        kind: "tcp",
        sourcePort: ports.destination,
        destinationPort: ports.source,
        flags,
      } as const;
      const kept = j.steps.length;
      const again = stop(j, send(j, { space: q.from, source: destination, destination: source, transport }));
      if (again) return { ...again, listening, ends };
      // It has gone where the first one went.
      j.steps.length = kept;
    }
  }
  return certain(j, { outcome: "passes", packet: "first", ...done });
}

type Reached = Extract<End, { kind: "delivered" | "leaves" }>;

/** The verdict if the packet does not arrive, or nobody knows. */
function stop(j: Journey, end: End): Pick<Answer, "outcome" | "packet" | "by" | "where"> | undefined {
  if (end.kind === "dropped") return { outcome: "dropped", packet: j.phase, by: end.by, where: end.where };
  if (end.kind !== "unclear") return undefined;
  return doubtful(j) ?? { outcome: "cannot tell", packet: j.phase, by: end.because, where: end.where };
}

/** The first thing that perhaps stops it. */
function doubtful(j: Journey): Pick<Answer, "outcome" | "packet" | "by" | "where"> | undefined {
  const [doubt] = j.doubts;
  return doubt && { outcome: "cannot tell", packet: doubt.packet, by: doubt.text, where: doubt.where };
}

const certain = (j: Journey, verdict: Verdict): Verdict => ({ ...verdict, ...doubtful(j) });

/** The answer has to come to where the question came from. */
function misled(
  back: End,
  { from }: Question,
): Pick<Answer, "outcome" | "packet" | "by" | "where"> | undefined {
  if (back.kind === "delivered" && back.space === from) return undefined;
  const { space } = back as Reached;
  const by = back.kind === "leaves" ? "the answer goes elsewhere" : `the answer is taken by ${space.name}`;
  return { outcome: "dropped", packet: "answer", by, where: space.name };
}

function endText(end: Reached, { protocol, port }: Question, listening: boolean | null): string {
  if (end.kind === "leaves") return `leaves ${end.space.name} by ${end.link.name}; ${end.text} is not seen`;
  const there = `delivered to ${end.space.name} by ${end.link.name}`;
  if (listening !== false) return there;
  const seen = portsOf(end.skb.packet)?.destination.bytes;
  const at = seen ? (seen[0] ?? 0) * 256 + (seen[1] ?? 0) : port;
  return `${there}, but refused: nothing listens on ${protocol} port ${at}`;
}

/** Whether somebody waits for it; null if it cannot be told. */
function listens(
  { space, skb, link }: Extract<End, { kind: "delivered" }>,
  { protocol }: Question,
): boolean | null {
  const to = destinationOf(skb.packet);
  const ports = portsOf(skb.packet);
  if (protocol === "icmp" || to === undefined || ports === undefined) return null;
  const port = (ports.destination.bytes[0] ?? 0) * 256 + (ports.destination.bytes[1] ?? 0);
  const four = space.within(() => listListeners(protocol, 4));
  const six = space.within(() => listListeners(protocol, 6));
  if (four === undefined || six === undefined) return null;
  const isAny = (address: Ip): boolean => address.bytes.every((b) => b === 0);
  const takes = (l: (typeof four)[number]): boolean =>
    l.port === port &&
    (l.link === undefined || l.link === link.index) &&
    (l.address.text === to.text ||
      l.address.text === `::ffff:${to.text}` ||
      (isAny(l.address) && (l.address.family === to.family || (to.family === 4 && !l.onlyV6))));
  return [...four, ...six].some(takes);
}

/** Why an echo is not answered. */
function ignoresEcho(
  { space, skb }: Extract<End, { kind: "delivered" }>,
  { protocol, to }: Question,
): string | undefined {
  if (protocol !== "icmp") return undefined;
  const key = `net/ipv${to.family}/${to.family === 4 ? "icmp_echo_ignore_all" : "icmp/echo_ignore_all"}`;
  if (space.sysctl(key) === "1") return `${space.name} answers no echo (${key.replaceAll("/", ".")})`;
  const destination = destinationOf(skb.packet);
  const isOne = destination && addressType(space, destination) === routeType.local;
  return isOne ? undefined : `${destination?.text ?? "the address"} is not one of ${space.name} alone`;
}

/** The answer, from where the packet ended, or as it comes back from what is not seen. */
function answer(j: Journey, end: Reached, q: Question, listening: boolean | null): End {
  const { packet } = end.skb;
  const [source, destination] = [sourceOf(packet), destinationOf(packet)];
  if (source === undefined || destination === undefined)
    return {
      kind: "unclear",
      because: "the packet's addresses are not known any more",
      where: end.space.name,
    };
  const transport = answerTo(packet, q, listening);
  if (end.kind === "delivered")
    return send(j, { space: end.space, source: destination, destination: source, transport });
  tell(j, end.space, "start", `the answer comes in by ${end.link.name}`);
  const back = returned(packet, source, destination, transport);
  const path = {
    ...pathOf({ packet: back, mark: end.skb.mark }),
    ...(end.vlan === undefined ? {} : { vlan: end.vlan }),
  };
  return arrive(j, end, intake(j, { space: end.space, link: end.link }, path));
}

/** ICMP types of an echo's answer, IPv4 and IPv6. */
const ECHO_REPLY = { 4: 0, 6: 129 } as const;

function answerTo(packet: Packet, { protocol, to }: Question, listening: boolean | null): Transport {
  const ports = portsOf(packet);
  if (protocol === "icmp" || ports === undefined) return { kind: "icmp", type: ECHO_REPLY[to.family] };
  const turned = { sourcePort: ports.destination, destinationPort: ports.source };
  if (protocol === "udp") return { kind: "udp", ...turned };
  const refuses = listening === false;
  return { kind: "tcp", ...turned, flags: tcpFlags.ack | (refuses ? tcpFlags.rst : tcpFlags.syn) };
}

/** Where the host's own hop limit is unknown, the most usual one. */
const TTL = 64;

/** The answer of somebody who is not seen, in a frame that goes the other way. */
function returned(packet: Packet, source: Ip, destination: Ip, transport: Transport): Packet {
  const { link } = packet;
  const turned = packetOf({ source: destination, destination: source, ttl: TTL, transport });
  if (link === undefined) return turned;
  const swapped = splice(splice(link, 0, slice(link, 6, 6)), 6, slice(link, 0, 6));
  return { ...turned, link: swapped };
}
