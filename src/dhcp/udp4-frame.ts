/**
 * UDP over IPv4 over Ethernet, as far as a client without an address needs it (RFC 768, 791, 894): making a frame, and
 * taking one apart that may come from anybody.
 */
import type { FilterInstruction } from "../sys/packet-socket.ts";
import { type Ip, ipFromBytes } from "../net/ip.ts";
import { type Mac, macFromBytes, macToBytes } from "../net/mac.ts";
import { be16, octets, struct, u8, viewOf } from "../wire/fixed.ts";

export interface Datagram {
  readonly source: { readonly mac: Mac; readonly ip: Ip; readonly port: number };
  readonly destination: { readonly mac: Mac; readonly ip: Ip; readonly port: number };
  readonly payload: Uint8Array;
}

const ethernet = struct("ethernet header", 14, { destination: octets(6), source: octets(6), type: be16 });
const ipv4 = struct("IPv4 header", 20, {
  versionAndLength: u8,
  tos: u8,
  length: be16,
  id: be16,
  fragment: be16,
  ttl: u8,
  protocol: u8,
  checksum: be16,
  source: octets(4),
  destination: octets(4),
});
const udp = struct("UDP header", 8, { source: be16, destination: be16, length: be16, checksum: be16 });
const ETH_P_IP = 0x0800;
const UDP = 17;
/** More fragments follow, or this is not the first one. */
const FRAGMENTED = 0x3fff;
const DONT_FRAGMENT = 0x4000;
const TTL = 64;

/** The internet checksum (RFC 1071) of several pieces, each of an even length but the last. */
function checksum(...pieces: readonly Uint8Array[]): number {
  let sum = 0;
  for (const piece of pieces) {
    const view = viewOf(piece);
    const even = piece.length & ~1;
    for (let at = 0; at < even; at += 2) sum += view.getUint16(at);
    if (even < piece.length) sum += (piece[even] ?? 0) << 8;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(source: Uint8Array, destination: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(12);
  out.set(source);
  out.set(destination, 4);
  out[9] = UDP;
  viewOf(out).setUint16(10, length);
  return out;
}

export function encodeFrame({ source, destination, payload }: Datagram): Uint8Array {
  const udpLength = udp.size + payload.length;
  const out = new Uint8Array(ethernet.size + ipv4.size + udpLength);
  const view = viewOf(out);
  const ipAt = ethernet.size;
  const udpAt = ipAt + ipv4.size;
  ethernet.set(view, 0, {
    destination: macToBytes(destination.mac),
    source: macToBytes(source.mac),
    type: ETH_P_IP,
  });
  ipv4.set(view, ipAt, {
    versionAndLength: 0x45,
    tos: 0,
    length: ipv4.size + udpLength,
    id: 0,
    fragment: DONT_FRAGMENT,
    ttl: TTL,
    protocol: UDP,
    checksum: 0,
    source: source.ip.bytes,
    destination: destination.ip.bytes,
  });
  view.setUint16(ipAt + 10, checksum(out.subarray(ipAt, udpAt)));
  udp.set(view, udpAt, {
    source: source.port,
    destination: destination.port,
    length: udpLength,
    checksum: 0,
  });
  out.set(payload, udpAt + udp.size);
  const sum = checksum(pseudoHeader(source.ip.bytes, destination.ip.bytes, udpLength), out.subarray(udpAt));
  // Zero would say that there is no checksum (RFC 768).
  view.setUint16(udpAt + 6, sum === 0 ? 0xffff : sum);
  return out;
}

/**
 * The datagram in a frame; undefined for everything that is not a whole one with right lengths and checksums.
 * `checksumPending`: the sender's device was to fill in the UDP checksum and has not.
 */
export function decodeFrame(bytes: Uint8Array, checksumPending: boolean): Datagram | undefined {
  if (bytes.length < ethernet.size + ipv4.size + udp.size) return undefined;
  const view = viewOf(bytes);
  const link = ethernet.get(view, 0);
  const ip = ipv4.get(view, ethernet.size);
  const headerLength = (ip.versionAndLength & 0xf) * 4;
  const ipEnd = ethernet.size + ip.length;
  const udpAt = ethernet.size + headerLength;
  // Short frames are padded by Ethernet, so that there may be more bytes than the header says, never fewer.
  if (link.type !== ETH_P_IP || ip.versionAndLength >> 4 !== 4 || headerLength < ipv4.size) return undefined;
  if (ipEnd > bytes.length || udpAt + udp.size > ipEnd) return undefined;
  if (ip.protocol !== UDP || (ip.fragment & FRAGMENTED) !== 0) return undefined;
  if (checksum(bytes.subarray(ethernet.size, udpAt)) !== 0) return undefined;
  const head = udp.get(view, udpAt);
  if (head.length < udp.size || udpAt + head.length > ipEnd) return undefined;
  const segment = bytes.subarray(udpAt, udpAt + head.length);
  const checked = head.checksum !== 0 && !checksumPending;
  if (checked && checksum(pseudoHeader(ip.source, ip.destination, head.length), segment) !== 0)
    return undefined;
  const sourceMac = macFromBytes(link.source);
  const destinationMac = macFromBytes(link.destination);
  if (sourceMac === undefined || destinationMac === undefined) return undefined;
  return {
    source: { mac: sourceMac, ip: ipFromBytes(ip.source), port: head.source },
    destination: { mac: destinationMac, ip: ipFromBytes(ip.destination), port: head.destination },
    payload: segment.slice(udp.size),
  };
}

/** BPF_* (linux/bpf_common.h, linux/filter.h): the instructions that the filter below needs. */
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
const LOAD_HALF_AT_X = 0x48;
const LOAD_X_HEADER_LENGTH = 0xb1;
const JUMP_EQUAL = 0x15;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;

/** Lets the kernel pass only first or whole UDP packets of IPv4 to this port: the container's other traffic stays away. */
export function udpPortFilter(port: number): readonly FilterInstruction[] {
  const op = (code: number, k: number, jt = 0, jf = 0): FilterInstruction => ({ code, jt, jf, k });
  return [
    op(LOAD_HALF, 12),
    op(JUMP_EQUAL, ETH_P_IP, 0, 8),
    op(LOAD_BYTE, ethernet.size + 9),
    op(JUMP_EQUAL, UDP, 0, 6),
    op(LOAD_HALF, ethernet.size + 6),
    op(JUMP_ANY_BIT, 0x1fff, 4, 0),
    op(LOAD_X_HEADER_LENGTH, ethernet.size),
    op(LOAD_HALF_AT_X, ethernet.size + 2),
    op(JUMP_EQUAL, port, 0, 1),
    op(RETURN, 0x40000),
    op(RETURN, 0),
  ];
}
