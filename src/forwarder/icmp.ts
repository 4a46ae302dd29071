/**
 * Answers to who sent a packet that cannot go on (RFC 792, RFC 4443), and who gets none (RFC 1122 3.2.2, RFC 4443 2.4):
 * nobody answers an error, a packet for many, or one whose sender nobody is.
 */
import { pseudoSum, sumOf } from "./checksum.ts";
import { ICMP, ICMP6, type IpHead, IPV4_HEADER, IPV6_HEADER } from "./packet.ts";

/** Why a packet goes no further. */
export type Reason = "no route" | "too big" | "expired";

const CODES4 = { "no route": [3, 0], "too big": [3, 4], expired: [11, 0] } as const;
const CODES6 = { "no route": [1, 0], "too big": [2, 0], expired: [3, 0] } as const;
const ICMP_HEADER = 8;
/** What an answer has at most, its own headers included (RFC 1812 4.3.2.3; RFC 4443 2.4). */
const MOST4 = 576;
const MOST6 = 1280;
export const ANSWER_BYTES = MOST6;
const HOPS = 64;

/** Whether the packet at `at`, whose header was read into `head`, is one that is answered. */
export function isAnswered(view: DataView, at: number, head: IpHead): boolean {
  return head.family === 4 ? isAnswered4(view, at, head) : isAnswered6(view, at, head);
}

function isAnswered4(view: DataView, at: number, head: IpHead): boolean {
  // Of a fragmented packet the first part alone.
  if ((view.getUint16(at + 6) & 0x1fff) !== 0) return false;
  const from = view.getUint8(at + 12);
  if (from === 0 || from === 127 || from >= 224 || view.getUint8(at + 16) >= 224) return false;
  if (head.protocol !== ICMP) return true;
  if (head.totalBytes < head.headerBytes + ICMP_HEADER) return false;
  const type = view.getUint8(at + head.headerBytes);
  // Echo, timestamp, information and address mask are questions and answers; the others are errors.
  return type === 0 || type === 8 || (type >= 13 && type <= 18);
}

function isAnswered6(view: DataView, at: number, head: IpHead): boolean {
  const isMulticast = (address: number): boolean => view.getUint8(address) === 0xff;
  if (isMulticast(at + 8) || isMulticast(at + 24)) return false;
  // Addresses of a link are not routed; `::` and `::1` are nobody's.
  if ((view.getUint16(at + 8) & 0xffc0) === 0xfe80 || view.getUint16(at + 8) === 0) return false;
  if (head.protocol !== ICMP6) return true;
  // Informational messages have the upper half of the types.
  return head.totalBytes > IPV6_HEADER && view.getUint8(at + IPV6_HEADER) >= 128;
}

/**
 * Writes at `into` the answer to the packet at `at` of the same memory, from an address of 4 or 16 bytes; `mtuBytes` is
 * told if it was too big. Returns its length, at most `ANSWER_BYTES`.
 */
export function writeAnswer(
  memory: { readonly view: DataView; readonly bytes: Uint8Array },
  into: number,
  reason: Reason,
  at: number,
  head: IpHead,
  from: Uint8Array,
  mtuBytes: number,
): number {
  const { view, bytes } = memory;
  const v4 = head.family === 4;
  const header = v4 ? IPV4_HEADER : IPV6_HEADER;
  const quoted = Math.min(head.totalBytes, (v4 ? MOST4 : MOST6) - header - ICMP_HEADER);
  const total = header + ICMP_HEADER + quoted;
  bytes.fill(0, into, into + header + ICMP_HEADER);
  bytes.copyWithin(into + header + ICMP_HEADER, at, at + quoted);
  const [type, code] = v4 ? CODES4[reason] : CODES6[reason];
  const icmp = into + header;
  view.setUint8(icmp, type);
  view.setUint8(icmp + 1, code);
  if (reason === "too big") {
    if (v4) view.setUint16(icmp + 6, mtuBytes);
    else view.setUint32(icmp + 4, mtuBytes);
  }
  const length = ICMP_HEADER + quoted;
  if (v4) {
    view.setUint8(into, 0x45);
    view.setUint16(into + 2, total);
    view.setUint8(into + 8, HOPS);
    view.setUint8(into + 9, ICMP);
    bytes.set(from, into + 12);
    bytes.copyWithin(into + 16, at + 12, at + 16);
    view.setUint16(into + 10, ~sumOf(view, into, IPV4_HEADER) & 0xffff);
    view.setUint16(icmp + 2, ~sumOf(view, icmp, length) & 0xffff);
  } else {
    view.setUint8(into, 0x60);
    view.setUint16(into + 4, length);
    view.setUint8(into + 6, ICMP6);
    view.setUint8(into + 7, HOPS);
    bytes.set(from, into + 8);
    bytes.copyWithin(into + 24, at + 8, at + 24);
    const pseudo = pseudoSum(view, into + 8, 16, ICMP6, length);
    view.setUint16(icmp + 2, ~sumPlus(pseudo, sumOf(view, icmp, length)) & 0xffff);
  }
  return total;
}

/** The sum of two folded sums, folded. */
const sumPlus = (a: number, b: number): number => {
  const sum = a + b;
  return (sum & 0xffff) + (sum >>> 16);
};
