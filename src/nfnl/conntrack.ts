import { networkInterfaces } from "node:os";
import { type Family, type Ip, ipFromBytes, isLoopback, isUnspecified } from "../net/ip.ts";
import { type Message, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { encodeFixed } from "../wire/fixed.ts";
import { CT, type CtAttrs, ctAttrs, FILTER, nfgenmsg, type Tuple } from "./ctnetlink.ts";

/**
 * Flushes what connection tracking remembers of one host port. Translation is decided by the first packet of a flow
 * and kept for as long as packets come: a UDP client that never pauses would go on to where it went before a mapping
 * was made, or to a container that is gone.
 */
export interface MappedPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Absent or unspecified: every address of the host. */
  readonly hostIp?: Ip;
  readonly hostPort: number;
  readonly target: Ip;
  readonly targetPort: number;
  /** Whether the mapping means a flow from and to these addresses; absent: every one. */
  readonly means?: (original: Direction) => boolean;
}

/** One direction of a flow. */
export interface Direction {
  readonly source: Ip;
  readonly destination: Ip;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface Flow {
  readonly family: Family;
  /** The number of the transport protocol (IANA): 6, 17, 132. */
  readonly protocol: number;
  /** As the first packet came. */
  readonly original: Direction;
  /** As the answers to it come: its source is where the flow was translated to. */
  readonly reply: Direction;
}

/** IANA protocol numbers. */
const PROTOCOL = { tcp: 6, udp: 17, sctp: 132 } as const;
/** AF_INET and AF_INET6 (linux/socket.h). */
const AF = { 4: 2, 6: 10 } as const;

const direction = (tuple: Tuple | undefined): Direction | undefined => {
  const source = tuple?.ip?.v4Source ?? tuple?.ip?.v6Source;
  const destination = tuple?.ip?.v4Destination ?? tuple?.ip?.v6Destination;
  const proto = tuple?.proto;
  if (!source || !destination || proto?.sourcePort === undefined || proto.destinationPort === undefined)
    return undefined;
  return {
    source: ipFromBytes(source),
    destination: ipFromBytes(destination),
    sourcePort: proto.sourcePort,
    destinationPort: proto.destinationPort,
  };
};

/** A flow with ports; undefined for the others, ICMP for one. */
export function toFlow(a: CtAttrs): Flow | undefined {
  const original = direction(a.original);
  const reply = direction(a.reply);
  const protocol = a.original?.proto?.number;
  if (!original || !reply || protocol === undefined) return undefined;
  return { family: original.source.family, protocol, original, reply };
}

export const decodeEntry = (m: Pick<Message, "body">): CtAttrs =>
  ctAttrs.decode(m.body.subarray(nfgenmsg.size));

const request = (type: number, family: Family, attributes: CtAttrs, what: string): Request => ({
  type,
  flags: 0,
  body: Buffer.concat([
    encodeFixed(nfgenmsg, { family: AF[family], version: 0, resourceId: 0 }),
    ctAttrs.encode(attributes),
  ]),
  what,
});

/**
 * Deletes the flows of a host port that would go the wrong way, and no other; returns how many there were.
 *
 * - `added`: flows to the host's address and port that are not translated to the target. They began before the
 *   mapping was there, or belong to one that is gone.
 * - `removed`: flows that are still translated to the target.
 *
 * TCP is left alone: a connection without its other end is reset or times out, and a client opens another. The kernel
 * filters the list (Linux 5.8); an older one lists every flow of the family once.
 * The host's addresses are those of the namespace that this thread is in, which has to be the socket's.
 * @throws NetError `netlink/refused`, with EINVAL or EOPNOTSUPP if the kernel has no connection tracking over netlink
 */
export function flushMapping(
  socket: Pick<NetlinkSocket, "dump" | "tryRequest">,
  mapping: MappedPort,
  when: "added" | "removed",
): number {
  if (mapping.protocol === "tcp") return 0;
  const family = mapping.target.family;
  const local = when === "added" && wantedIp(mapping) === undefined ? localAddresses() : undefined;
  const what = `flows of ${mapping.protocol} port ${mapping.hostPort}`;
  let deleted = 0;
  for (const message of socket.dump(request(CT.GET, family, listFilter(mapping, when), what))) {
    const entry = decodeEntry(message);
    const flow = toFlow(entry);
    if (flow === undefined || !concerns(flow, mapping, when, local)) continue;
    if (removeEntry(socket, family, entry, what)) deleted++;
  }
  return deleted;
}

const wantedIp = ({ hostIp }: MappedPort): Ip | undefined =>
  hostIp === undefined || isUnspecified(hostIp) ? undefined : hostIp;

/** Whether a flow is one to delete. `local` is what counts as the host's, for mappings of every address. */
export function concerns(
  flow: Flow,
  mapping: MappedPort,
  when: "added" | "removed",
  local: ReadonlySet<string> | undefined,
): boolean {
  const { original, reply } = flow;
  if (flow.protocol !== PROTOCOL[mapping.protocol] || flow.family !== mapping.target.family) return false;
  if (original.destinationPort !== mapping.hostPort) return false;
  const hostIp = wantedIp(mapping);
  if (hostIp !== undefined && original.destination.text !== hostIp.text) return false;
  const atTarget = reply.source.text === mapping.target.text && reply.sourcePort === mapping.targetPort;
  // A flow that was sent to the container itself is not translated, though it ends at the same place.
  if (when === "removed") return atTarget && original.destination.text !== mapping.target.text;
  if (mapping.means?.(original) === false) return false;
  const mine =
    hostIp !== undefined || local?.has(original.destination.text) || isLoopback(original.destination);
  return mine && !atTarget;
}

/**
 * What goes to port 53 of a name server elsewhere passes through the host and is nobody's mapping: only what was sent
 * to an address of this host can be.
 */
function localAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map((a) => a.address));
}

/**
 * What the kernel shall match. IPv6 addresses are left to `concerns`: the kernel's comparison of them is the wrong way
 * round (ctnetlink_filter_match_tuple in net/netfilter/nf_conntrack_netlink.c, seen in Linux 6.18).
 */
function listFilter(mapping: MappedPort, when: "added" | "removed"): CtAttrs {
  const number = PROTOCOL[mapping.protocol];
  const v4 = mapping.target.family === 4;
  const hostIp = v4 ? wantedIp(mapping) : undefined;
  const original: Tuple = {
    ...(hostIp ? { ip: { v4Destination: hostIp.bytes } } : {}),
    proto: { number, destinationPort: mapping.hostPort },
  };
  const originalFlags = FILTER.protoNumber | FILTER.destinationPort | (hostIp ? FILTER.ipDestination : 0);
  if (when === "added") return { original, filter: { originalFlags } };
  const reply: Tuple = {
    ...(v4 ? { ip: { v4Source: mapping.target.bytes } } : {}),
    proto: { number, sourcePort: mapping.targetPort },
  };
  const replyFlags = FILTER.protoNumber | FILTER.sourcePort | (v4 ? FILTER.ipSource : 0);
  return { original, reply, filter: { originalFlags, replyFlags } };
}

/** By tuple and number, so that a flow that came after the list is not met. False if it was gone already. */
function removeEntry(
  socket: Pick<NetlinkSocket, "tryRequest">,
  family: Family,
  entry: CtAttrs,
  what: string,
): boolean {
  const { original, id, zone } = entry;
  if (original === undefined || id === undefined) return false;
  const key: CtAttrs = { original, id, ...(zone === undefined ? {} : { zone }) };
  return socket.tryRequest(request(CT.DELETE, family, key, what), "ENOENT") !== "ENOENT";
}
