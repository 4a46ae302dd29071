/** Forwarding entries of bridges: behind which port a hardware address is (messages of neighbours, linux/neighbour.h). */
import { type Mac, macFromBytes } from "../net/mac.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, fixedAttr } from "../wire/attrs.ts";
import { u16, u32, viewOf } from "../wire/fixed.ts";
import { ndmsg, RTM } from "./neighbour.ts";

const AF_BRIDGE = 7;
const entryAttrs = attrs("NDA", {
  lladdr: [2, bytes],
  vlan: [5, fixedAttr(u16)],
  master: [9, fixedAttr(u32)],
});
/** NUD_PERMANENT and NUD_NOARP. */
const PERMANENT = 0x80;
const NOARP = 0x40;

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
