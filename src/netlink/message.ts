import { align4, attrs, cstr, DecodeError, fixedAttr } from "../wire/attrs.ts";
import { i32, struct, u16, u32, viewOf } from "../wire/fixed.ts";

/** Framing of netlink messages (linux/netlink.h): headers, acknowledgements, extended acknowledgements. */
export const nlmsghdr = struct("nlmsghdr", 16, { length: u32, type: u16, flags: u16, seq: u32, pid: u32 });

/** Flags of a request. */
export const NLM_F = {
  REQUEST: 0x1,
  MULTI: 0x2,
  ACK: 0x4,
  ECHO: 0x8,
  DUMP_INTR: 0x10,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  DUMP: 0x300,
} as const;
/** Flags of an acknowledgement: the request is not repeated in it, and attributes follow. */
const CAPPED = 0x100;
const ACK_TLVS = 0x200;

/** Types below 16 belong to netlink itself. */
export const NLMSG = { ERROR: 2, DONE: 3, OVERRUN: 4 } as const;
export const HEADER_SIZE = nlmsghdr.size;

const extAck = attrs("NLMSGERR_ATTR", { message: [1, cstr], offset: [2, fixedAttr(u32)] });

/** One request: `what` names it for people, with the object it is about: `RTM_NEWLINK eth0`. */
export interface Request {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
  readonly what: string;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly pid: number;
  /** The payload, copied out of the receive buffer. */
  readonly body: Uint8Array;
}

/** Writes the requests behind one another into one buffer, numbered upwards from `seq`. */
export function encodeRequests(requests: readonly Request[], seq: number): Uint8Array {
  let size = 0;
  for (const { body } of requests) size += align4(HEADER_SIZE + body.length);
  const out = new Uint8Array(size);
  const view = viewOf(out);
  let at = 0;
  let next = seq;
  for (const { type, flags, body } of requests) {
    const length = HEADER_SIZE + body.length;
    // As `nlmsghdr` has it, field by field: thousands of messages pass here at once.
    view.setUint32(at, length, true);
    view.setUint16(at + 4, type, true);
    view.setUint16(at + 6, flags | NLM_F.REQUEST, true);
    view.setUint32(at + 8, next++, true);
    out.set(body, at + HEADER_SIZE);
    at += align4(length);
  }
  return out;
}

/** Splits one datagram from the kernel. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const messages: Message[] = [];
  const view = viewOf(datagram);
  for (let at = 0; at < datagram.length;) {
    if (datagram.length - at < HEADER_SIZE)
      throw new DecodeError(`netlink: ${datagram.length - at} stray bytes`);
    const { length, type, flags, seq, pid } = nlmsghdr.get(view, at);
    if (length < HEADER_SIZE || at + length > datagram.length)
      throw new DecodeError(`netlink: message type ${type} claims ${length} bytes`);
    messages.push({ type, flags, seq, pid, body: datagram.slice(at + HEADER_SIZE, at + length) });
    at += align4(length);
  }
  return messages;
}

/** What an NLMSG_ERROR message says: zero for success, else a positive error number with the kernel's words. */
export interface Ack {
  readonly errno: number;
  readonly text?: string;
}

export function decodeAck(m: Message): Ack {
  if (m.body.length < 4) throw new DecodeError("netlink: an acknowledgement without an error number");
  const view = viewOf(m.body);
  const errno = -i32.get(view, 0);
  if ((m.flags & ACK_TLVS) === 0) return { errno };
  const repeated = m.flags & CAPPED ? HEADER_SIZE : u32.get(view, 4);
  const text = extAck.decode(m.body.subarray(4 + align4(repeated))).message;
  return text === undefined ? { errno } : { errno, text };
}

/** What an NLMSG_DONE message says: the result of the whole dump. */
export const decodeDone = (m: Message): number => (m.body.length >= 4 ? -i32.get(viewOf(m.body), 0) : 0);
