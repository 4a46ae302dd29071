import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, fixedAttr } from "../wire/attrs.ts";
import { i32, u32 } from "../wire/fixed.ts";

/**
 * Numbers of other namespaces: each namespace counts those that its links lead to, and a link whose other end is in one
 * of them shows its number (`IFLA_LINK_NETNSID`; NETNSA_*, linux/net_namespace.h).
 */
const RTM_GETNSID = 90;
/** `struct rtgenmsg`, one byte, with its padding. */
const HEAD_SIZE = 4;
const nsidAttrs = attrs("NETNSA", { nsid: [1, fixedAttr(i32)], fd: [3, fixedAttr(u32)] });

/** The number that the socket's namespace has for the one of `netnsFd`; undefined if it has none. */
export function namespaceNumber(socket: NetlinkSocket, netnsFd: number): number | undefined {
  const tail = nsidAttrs.encode({ fd: netnsFd });
  const body = new Uint8Array(HEAD_SIZE + tail.length);
  body.set(tail, HEAD_SIZE);
  const [answer] = socket.request({ type: RTM_GETNSID, flags: 0, body, what: "RTM_GETNSID" });
  const nsid = answer && nsidAttrs.decode(answer.body.subarray(HEAD_SIZE)).nsid;
  return nsid === undefined || nsid < 0 ? undefined : nsid;
}
