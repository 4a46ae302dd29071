import { type Family, type Ip, ipFromBytes } from "../net/ip.ts";
import { type Mac, macFromBytes, macToBytes } from "../net/mac.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, fixedAttr } from "../wire/attrs.ts";
import { i32, pad, struct, u16, u32, u8, viewOf } from "../wire/fixed.ts";
import { lastTemplate, template } from "../wire/template.ts";

/**
 * Neighbours: which hardware address an IP address on a link has (`struct ndmsg` and NDA_*, linux/neighbour.h).
 */
export const RTM = { NEWNEIGH: 28, DELNEIGH: 29, GETNEIGH: 30 } as const;
export const ndmsg = struct("ndmsg", 12, {
  family: u8,
  _pad: pad(3),
  ifindex: i32,
  state: u16,
  flags: u8,
  type: u8,
});
const cacheInfo = struct("nda_cacheinfo", 16, { confirmed: u32, used: u32, updated: u32, references: u32 });
export const neighbourAttrs = attrs("NDA", {
  dst: [1, bytes],
  lladdr: [2, bytes],
  cacheInfo: [3, fixedAttr(cacheInfo)],
  probes: [4, fixedAttr(u32)],
  ifindex: [8, fixedAttr(u32)],
  protocol: [12, fixedAttr(u8)],
});

/** NUD_*: one bit each. */
export const neighbourState = {
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noArp: 0x40,
  permanent: 0x80,
} as const;
export type NeighbourState = keyof typeof neighbourState;
/** NTF_PROXY: this host answers for the address. */
const PROXY = 0x08;
/** AF_INET and AF_INET6 (linux/socket.h). */
const AF = { 4: 2, 6: 10 } as const;

export interface Neighbour {
  /** Index of the link. */
  readonly link: number;
  readonly ip: Ip;
  /** Absent while it is not known, and on links without hardware addresses. */
  readonly mac?: Mac;
  readonly state: NeighbourState;
}

const stateOf = (bits: number): NeighbourState | undefined =>
  (Object.keys(neighbourState) as NeighbourState[]).find((name) => neighbourState[name] === bits);

/** Reads one RTM_NEWNEIGH message; undefined for one without an IP address or a state (a proxy, a forwarding entry). */
export function decodeNeighbour(m: Pick<Message, "body">): Neighbour | undefined {
  const head = ndmsg.get(viewOf(m.body), 0);
  const a = neighbourAttrs.decode(m.body.subarray(ndmsg.size));
  const state = stateOf(head.state);
  if (state === undefined || a.dst === undefined || (head.flags & PROXY) !== 0) return undefined;
  const mac = a.lladdr && macFromBytes(a.lladdr);
  return { link: head.ifindex, ip: ipFromBytes(a.dst), ...(mac ? { mac } : {}), state };
}

/** The link and the address that an RTM_NEWNEIGH or RTM_DELNEIGH message is about, in whatever state. */
export function decodeNeighbourKey(m: Pick<Message, "body">): Pick<Neighbour, "link" | "ip"> | undefined {
  const head = ndmsg.get(viewOf(m.body), 0);
  const { dst } = neighbourAttrs.decode(m.body.subarray(ndmsg.size));
  const isIp = head.family === AF[4] || head.family === AF[6];
  return !isIp || dst === undefined || (head.flags & PROXY) !== 0
    ? undefined
    : { link: head.ifindex, ip: ipFromBytes(dst) };
}

/** What is written of a neighbour. */
interface Words {
  readonly family: Family;
  readonly link: number;
  readonly state: number;
  readonly dst: Uint8Array;
  readonly lladdr: Uint8Array | undefined;
}

const templateOf = lastTemplate<Words>(
  (a, b) =>
    a.family === b.family &&
    a.link === b.link &&
    a.state === b.state &&
    (a.lladdr === undefined) === (b.lladdr === undefined),
  ({ family, link, state, dst, lladdr }) => {
    const tail = neighbourAttrs.encode({ dst, ...(lladdr ? { lladdr } : {}) });
    const body = new Uint8Array(ndmsg.size + tail.length);
    ndmsg.set(viewOf(body), 0, { family: AF[family], ifindex: link, state, flags: 0, type: 0 });
    body.set(tail, ndmsg.size);
    const { dst: dstAttr, lladdr: macAttr } = neighbourAttrs.table;
    return template(body, ndmsg.size, dstAttr[0], lladdr ? macAttr[0] : undefined);
  },
);

function bodyOf({ link, ip }: Pick<Neighbour, "link" | "ip">, state: number, mac?: Mac): Uint8Array {
  const { family, bytes: dst } = ip;
  const lladdr = mac && macToBytes(mac);
  return templateOf({ family, link, state, dst, lladdr }).fill(dst, lladdr);
}

/** A neighbour to be made; `permanent` if no state is told. */
export interface NewNeighbour {
  readonly link: number;
  readonly ip: Ip;
  readonly mac: Mac;
  readonly state?: NeighbourState;
}

/** The request of `setNeighbour`, for those who send many. */
export const neighbourSetting = (neighbour: NewNeighbour): Request => ({
  type: RTM.NEWNEIGH,
  flags: NLM_F.CREATE | NLM_F.REPLACE,
  body: bodyOf(neighbour, neighbourState[neighbour.state ?? "permanent"], neighbour.mac),
  what: `RTM_NEWNEIGH ${neighbour.ip.text} on #${neighbour.link}`,
});

/** The request of `removeNeighbour`; refused with ENOENT if there is none. */
export const neighbourRemoval = (neighbour: Pick<Neighbour, "link" | "ip">): Request => ({
  type: RTM.DELNEIGH,
  flags: 0,
  body: bodyOf(neighbour, 0),
  what: `RTM_DELNEIGH ${neighbour.ip.text} on #${neighbour.link}`,
});

/** Makes a neighbour, or gives the one that is there this hardware address and state. */
export function setNeighbour(socket: NetlinkSocket, neighbour: NewNeighbour): void {
  socket.request(neighbourSetting(neighbour));
}

/** Removes a neighbour. Returns false if there was none, or no such link. */
export function removeNeighbour(socket: NetlinkSocket, neighbour: Pick<Neighbour, "link" | "ip">): boolean {
  const answer = socket.tryRequest(neighbourRemoval(neighbour), "ENOENT", "ENODEV", "ENXIO");
  return typeof answer !== "string";
}

/** The kernel's own messages, for captures. `link` limits the list to one link. */
export function neighbourDump(socket: NetlinkSocket, family: Family, link?: number): Message[] {
  const tail = neighbourAttrs.encode(link === undefined ? {} : { ifindex: link });
  const body = new Uint8Array(ndmsg.size + tail.length);
  body[0] = AF[family];
  body.set(tail, ndmsg.size);
  return socket.dump({ type: RTM.GETNEIGH, flags: 0, body, what: `RTM_GETNEIGH IPv${family}` });
}

/** Neighbours of the family, on every link or on one. */
export const listNeighbours = (socket: NetlinkSocket, family: Family, link?: number): Neighbour[] =>
  neighbourDump(socket, family, link)
    .map(decodeNeighbour)
    .filter((n) => n !== undefined);
