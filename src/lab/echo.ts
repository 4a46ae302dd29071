/** Echo requests and replies of ICMP (RFC 792) and ICMPv6 (RFC 4443), as a raw socket takes and gives them. Pure. */
import type { Family } from "../net/ip.ts";
import { viewOf } from "../wire/fixed.ts";

export interface Echo {
  /** Tells the replies of one program, or socket, from those of others; 16 bits. */
  readonly id: number;
  /** 16 bits. */
  readonly sequence: number;
}

const TYPES = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const;
const HEADER_BYTES = 8;
/** As `ping` sends. */
const PAYLOAD_BYTES = 56;

/** The sum of RFC 1071 over a packet whose own checksum is zero. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An echo request. The kernel fills in the checksum of ICMPv6, which is over addresses too. */
export function encodeEcho(family: Family, { id, sequence }: Echo): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(HEADER_BYTES + PAYLOAD_BYTES));
  const view = viewOf(bytes);
  view.setUint8(0, TYPES[family].request);
  view.setUint16(4, id);
  view.setUint16(6, sequence);
  for (let i = HEADER_BYTES; i < bytes.length; i++) bytes[i] = i;
  if (family === 4) view.setUint16(2, checksum(bytes));
  return bytes;
}

/** What a raw socket has received, if it is an echo reply: in IPv4 the header of IP is before it, in IPv6 not. */
export function decodeReply(family: Family, packet: Uint8Array): Echo | undefined {
  const start = family === 4 ? ((packet[0] ?? 0) & 0x0f) * 4 : 0;
  if (packet.length < start + HEADER_BYTES) return undefined;
  const view = viewOf(packet);
  if (view.getUint8(start) !== TYPES[family].reply || view.getUint8(start + 1) !== 0) return undefined;
  return { id: view.getUint16(start + 4), sequence: view.getUint16(start + 6) };
}
