/**
 * Forwarding entries: behind which port of a bridge, or which host of a tunnel, a hardware address is (messages of
 * neighbours, linux/neighbour.h).
 */
import { type Ip, ipFromBytes } from "../net/ip.ts";
import { type Mac, macFromBytes, macToBytes } from "../net/mac.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, fixedAttr } from "../wire/attrs.ts";
import { u16, u32, viewOf } from "../wire/fixed.ts";
import { lastTemplate, template } from "../wire/template.ts";
import { ndmsg, RTM } from "./neighbour.ts";

const AF_BRIDGE = 7;
export const entryAttrs = attrs("NDA", {
  dst: [1, bytes],
  lladdr: [2, bytes],
  vlan: [5, fixedAttr(u16)],
  master: [9, fixedAttr(u32)],
});
/** NUD_PERMANENT and NUD_NOARP. */
const PERMANENT = 0x80;
const NOARP = 0x40;
/** NTF_SELF: the entry is the link's own, not that of a bridge above it. */
const SELF = 0x02;

export interface ForwardingEntry {
  /** Index of the port, or of the bridge itself. */
  readonly port: number;
  readonly mac: Mac;
  /** Absent: of every VLAN. */
  readonly vlan?: number;
  /** `local`: of the bridge itself; `static`: somebody entered it; `learned`: from a frame. */
  readonly kind: "local" | "static" | "learned";
}

/** The entries of one bridge. */
export function listForwarding(socket: NetlinkSocket, bridge: number): readonly ForwardingEntry[] {
  const tail = entryAttrs.encode({ master: bridge });
  const body = new Uint8Array(ndmsg.size + tail.length);
  body[0] = AF_BRIDGE;
  body.set(tail, ndmsg.size);
  return socket
    .dump({ type: RTM.GETNEIGH, flags: 0, body, what: `RTM_GETNEIGH bridge #${bridge}` })
    .flatMap(({ body: found }) => {
      const head = ndmsg.get(viewOf(found), 0);
      const a = entryAttrs.decode(found.subarray(ndmsg.size));
      const mac = a.lladdr && macFromBytes(a.lladdr);
      if (mac === undefined || (a.master !== undefined && a.master !== bridge)) return [];
      const kind = head.state & PERMANENT ? "local" : head.state & NOARP ? "static" : "learned";
      return [{ port: head.ifindex, mac, ...(a.vlan ? { vlan: a.vlan } : {}), kind } as const];
    });
}

/** An entry of a vxlan link: frames for `mac` go to the host `to`. */
export interface TunnelEntry {
  /** Index of the vxlan link. */
  readonly link: number;
  readonly mac: Mac;
  readonly to: Ip;
  /** Somebody entered it; false: the link learned it from a frame. */
  readonly static: boolean;
}

/** Reads one RTM_NEWNEIGH or RTM_DELNEIGH message; undefined for one that is no entry of a tunnel. */
export function decodeTunnelEntry(m: Pick<Message, "body">): TunnelEntry | undefined {
  const head = ndmsg.get(viewOf(m.body), 0);
  if (head.family !== AF_BRIDGE) return undefined;
  const a = entryAttrs.decode(m.body.subarray(ndmsg.size));
  const mac = a.lladdr && macFromBytes(a.lladdr);
  if (mac === undefined || a.dst === undefined) return undefined;
  const to = ipFromBytes(a.dst);
  return { link: head.ifindex, mac, to, static: (head.state & (PERMANENT | NOARP)) !== 0 };
}

/** What is written of an entry. */
interface Words {
  readonly verb: "NEWNEIGH" | "DELNEIGH";
  readonly link: number;
  readonly dst: Uint8Array;
  readonly lladdr: Uint8Array;
}

const templateOf = lastTemplate<Words>(
  (a, b) => a.verb === b.verb && a.link === b.link && a.dst.length === b.dst.length,
  ({ verb, link, dst, lladdr }) => {
    const tail = entryAttrs.encode({ dst, lladdr });
    const body = new Uint8Array(ndmsg.size + tail.length);
    const state = verb === "NEWNEIGH" ? PERMANENT : 0;
    ndmsg.set(viewOf(body), 0, { family: AF_BRIDGE, ifindex: link, state, flags: SELF, type: 0 });
    body.set(tail, ndmsg.size);
    return template(body, ndmsg.size, entryAttrs.table.dst[0], entryAttrs.table.lladdr[0]);
  },
);

function entryRequest(
  verb: "NEWNEIGH" | "DELNEIGH",
  flags: number,
  { link, mac, to }: Omit<TunnelEntry, "static">,
): Request {
  const lladdr = macToBytes(mac);
  const dst = to.bytes;
  const body = templateOf({ verb, link, dst, lladdr }).fill(dst, lladdr);
  return { type: RTM[verb], flags, body, what: `RTM_${verb} ${mac} to ${to.text} on #${link}` };
}

/** A request that makes an entry, or lets the one with this hardware address lead to `to`. */
export const setTunnelEntry = (entry: Omit<TunnelEntry, "static">): Request =>
  entryRequest("NEWNEIGH", NLM_F.CREATE | NLM_F.REPLACE, entry);

/** A request that removes an entry; refused with ENOENT if there is none. */
export const removeTunnelEntry = (entry: Omit<TunnelEntry, "static">): Request =>
  entryRequest("DELNEIGH", 0, entry);
/** The kernel's own messages about the entries of one vxlan link, for captures. */
export function tunnelEntryDump(socket: NetlinkSocket, link: number): Message[] {
  const body = new Uint8Array(ndmsg.size);
  ndmsg.set(viewOf(body), 0, { family: AF_BRIDGE, ifindex: link, state: 0, flags: 0, type: 0 });
  return socket.dump({ type: RTM.GETNEIGH, flags: 0, body, what: `RTM_GETNEIGH tunnel #${link}` });
}
