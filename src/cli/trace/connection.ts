/**
 * Connection tracking and translation of one namespace, for the packets of a trace: what the kernel would remember of the first
 * packet, and what it then does to the ones after it. Ports that are not known are taken to be the same throughout.
 */
import { type Bits, host32, same, slice } from "../../nft/eval/bits.ts";
import {
  type End,
  familyOf,
  type Packet,
  portsOf,
  withDestination,
  withSource,
} from "../../nft/eval/packet.ts";
import type { Tracked, Tuple } from "../../nft/eval/state.ts";

export interface Connection {
  readonly original: Tuple;
  reply: Tuple;
  /** Whether the chains for that have been asked. */
  asked: { destination: boolean; source: boolean };
  translated: { destination: boolean; source: boolean };
  answered: boolean;
  /** The first packet has left the namespace or was delivered. */
  confirmed: boolean;
  mark: Bits;
}
export type Direction = "original" | "reply";

/** What a packet carries with it about its connection. */
export interface Tracking {
  readonly connection: Connection;
  readonly direction: Direction;
}

export function tupleOf(p: Packet): Tuple {
  const six = familyOf(p) === 6;
  const ports = portsOf(p);
  return {
    source: slice(p.network, six ? 8 : 12, six ? 16 : 4),
    destination: slice(p.network, six ? 24 : 16, six ? 16 : 4),
    ...(ports ? { sourcePort: ports.source, destinationPort: ports.destination } : {}),
  };
}

const invert = (t: Tuple): Tuple => ({
  source: t.destination,
  destination: t.source,
  ...(t.destinationPort ? { sourcePort: t.destinationPort } : {}),
  ...(t.sourcePort ? { destinationPort: t.sourcePort } : {}),
});

const samePort = (a: Bits | undefined, b: Bits | undefined): boolean =>
  a === undefined || b === undefined ? a === b : same(a, b);
const sameTuple = (a: Tuple, b: Tuple): boolean =>
  same(a.source, b.source) &&
  same(a.destination, b.destination) &&
  samePort(a.sourcePort, b.sourcePort) &&
  samePort(a.destinationPort, b.destinationPort);

/** The connection that the packet belongs to among these; a new one is added to them. */
export function track(connections: Connection[], packet: Packet): Tracking {
  const tuple = tupleOf(packet);
  for (const connection of connections) {
    if (sameTuple(tuple, connection.original)) return { connection, direction: "original" };
    if (sameTuple(tuple, connection.reply)) {
      connection.answered = true;
      return { connection, direction: "reply" };
    }
  }
  const connection: Connection = {
    original: tuple,
    reply: invert(tuple),
    asked: { destination: false, source: false },
    translated: { destination: false, source: false },
    answered: false,
    confirmed: false,
    mark: host32(0),
  };
  connections.push(connection);
  return { connection, direction: "original" };
}

/** IP_CT_* as bits of `ct state`, and of `ct status` (linux/netfilter/nf_conntrack_common.h). */
const state = { established: 2, new: 8 } as const;
const status = {
  seenReply: 2,
  confirmed: 8,
  snat: 0x10,
  dnat: 0x20,
  snatDone: 0x80,
  dnatDone: 0x100,
} as const;
/** IPS_ASSURED and what helpers and offloading set: nobody knows these. */
const UNTOLD = 0x04 | 0x01 | 0xfffffe00;

export function trackedOf({ connection: c, direction }: Tracking): Tracked {
  const bits =
    (c.answered ? status.seenReply : 0) |
    (c.confirmed ? status.confirmed : 0) |
    (c.translated.source ? status.snat : 0) |
    (c.translated.destination ? status.dnat : 0) |
    (c.asked.source ? status.snatDone : 0) |
    (c.asked.destination ? status.dnatDone : 0);
  return {
    state: host32(c.answered ? state.established : state.new),
    status: { bytes: host32(bits).bytes, known: host32(~UNTOLD >>> 0).bytes },
    direction,
    original: c.original,
    reply: c.reply,
  };
}

/** Enters a translation of the destination or the source into the connection. */
export function enter(c: Connection, which: "destination" | "source", end: End): void {
  const { address, port } = end;
  if (which === "destination")
    c.reply = {
      ...c.reply,
      ...(address ? { source: address } : {}),
      ...(port && c.reply.sourcePort ? { sourcePort: port } : {}),
    };
  else
    c.reply = {
      ...c.reply,
      ...(address ? { destination: address } : {}),
      ...(port && c.reply.destinationPort ? { destinationPort: port } : {}),
    };
  c.translated[which] = true;
}

/** The packet as it is behind that hook's translation: of the destination where it comes in, of the source where it leaves. */
export function translate(
  packet: Packet,
  { connection: c, direction }: Tracking,
  which: "destination" | "source",
): Packet {
  const original = direction === "original";
  const other = which === "destination" ? "source" : "destination";
  if (!c.translated[original ? which : other]) return packet;
  const to = invert(original ? c.reply : c.original);
  return which === "destination"
    ? withDestination(packet, endOf(to.destination, to.destinationPort))
    : withSource(packet, endOf(to.source, to.sourcePort));
}

const endOf = (address: Bits, port: Bits | undefined): End => ({ address, ...(port ? { port } : {}) });
