import type { Request } from "../netlink/message.ts";
import { attrs, bytes, cstr } from "../wire/attrs.ts";
import { i32, pad, struct, u32, u8, viewOf } from "../wire/fixed.ts";

/**
 * What the messages of traffic control have in common: `struct tcmsg` (linux/rtnetlink.h), TCA_*, and the numbers by which
 * queueing disciplines are named. A handle is `major:minor`, sixteen bits each; tc prints both in hexadecimal.
 */
export const tcmsg = struct("tcmsg", 20, {
  family: u8,
  _pad: pad(3),
  ifindex: i32,
  handle: u32,
  parent: u32,
  info: u32,
});

export const tcAttrs = attrs("TCA", { kind: [1, cstr], options: [2, bytes] });

/** TC_H_* (linux/pkt_sched.h): where on a link something is attached. */
export const parentOf = {
  /** What the link sends. */
  root: 0xffffffff,
  /** The qdisc through which everything passes that the link receives, `ingress` or `clsact`. */
  ingress: 0xfffffff1,
  /** Filters on what the link receives. */
  received: 0xfffffff2,
  /** Filters on what the link sends; only below `clsact`. */
  sent: 0xfffffff3,
} as const;

const RTM = {
  NEWQDISC: 36,
  DELQDISC: 37,
  GETQDISC: 38,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;

export interface TcHead {
  /** Index of the link; 0 in a list is every link. */
  readonly link: number;
  readonly parent?: number;
  readonly handle?: number;
  readonly info?: number;
}

export function tcRequest(
  verb: keyof typeof RTM,
  head: TcHead,
  flags: number,
  attributes: ReturnType<typeof tcAttrs.decode> = {},
): Request {
  const tail = tcAttrs.encode(attributes);
  const body = new Uint8Array(tcmsg.size + tail.length);
  tcmsg.set(viewOf(body), 0, {
    family: 0,
    ifindex: head.link,
    handle: head.handle ?? 0,
    parent: head.parent ?? 0,
    info: head.info ?? 0,
  });
  body.set(tail, tcmsg.size);
  const what = `RTM_${verb}${attributes.kind === undefined ? "" : ` ${attributes.kind}`} on #${head.link}`;
  return { type: RTM[verb], flags, body, what };
}
