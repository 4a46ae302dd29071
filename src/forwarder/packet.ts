/**
 * What the data path must know of a packet's IP header, read without allocating anything. Whatever the bytes are, nothing
 * outside of the packet is looked at: a header that lies about its lengths is refused here.
 */
import { fold32 } from "./checksum.ts";

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMP6 = 58;
export const IPV4_HEADER = 20;
export const IPV6_HEADER = 40;
/** Where the checksum stands in the headers of TCP and UDP. */
export const TCP_CHECKSUM = 16;
export const UDP_CHECKSUM = 6;

/** One packet's header, overwritten by the next `readIp`. */
export interface IpHead {
  family: 4 | 6;
  /** Bytes of the IP header; of IPv6 without extension headers. */
  headerBytes: number;
  /** Bytes of the packet as its header tells them. */
  totalBytes: number;
  /** The protocol behind the IP header; an extension header's number in IPv6. */
  protocol: number;
  /** It is a fragment, the first one included. IPv4 alone: in IPv6 that is an extension header. */
  isFragment: boolean;
  /** It must not be fragmented on its way: by its flag, or since it is IPv6. */
  isWhole: boolean;
  /** TTL or hop limit. */
  hops: number;
}

export const newHead = (): IpHead => ({
  family: 4,
  headerBytes: 0,
  totalBytes: 0,
  protocol: 0,
  isFragment: false,
  isWhole: false,
  hops: 0,
});

/**
 * Reads the header of a packet that has at most `length` bytes from `at`. Returns false if it is none: another version, a
 * header that is cut short, or lengths that the bytes do not have. What follows behind `totalBytes` is not the packet's.
 */
export function readIp(view: DataView, at: number, length: number, into: IpHead): boolean {
  if (length < IPV4_HEADER) return false;
  const first = view.getUint8(at);
  if (first >> 4 === 6) return readIpv6(view, at, length, into);
  const headerBytes = (first & 0x0f) * 4;
  const totalBytes = view.getUint16(at + 2);
  if (first >> 4 !== 4 || headerBytes < IPV4_HEADER || totalBytes < headerBytes || totalBytes > length)
    return false;
  const fragment = view.getUint16(at + 6);
  into.family = 4;
  into.headerBytes = headerBytes;
  into.totalBytes = totalBytes;
  into.protocol = view.getUint8(at + 9);
  into.isFragment = (fragment & 0x3fff) !== 0;
  into.isWhole = (fragment & 0x4000) !== 0;
  into.hops = view.getUint8(at + 8);
  return true;
}

function readIpv6(view: DataView, at: number, length: number, into: IpHead): boolean {
  if (length < IPV6_HEADER) return false;
  const totalBytes = IPV6_HEADER + view.getUint16(at + 4);
  if (totalBytes > length) return false;
  into.family = 6;
  into.headerBytes = IPV6_HEADER;
  into.totalBytes = totalBytes;
  into.protocol = view.getUint8(at + 6);
  into.isFragment = false;
  into.isWhole = true;
  into.hops = view.getUint8(at + 7);
  return true;
}

/** Takes one from the TTL or hop limit, which is more than zero; the IPv4 checksum follows (RFC 1624). */
export function decrementHops(view: DataView, at: number, family: 4 | 6): void {
  if (family === 6) {
    view.setUint8(at + 7, view.getUint8(at + 7) - 1);
    return;
  }
  view.setUint8(at + 8, view.getUint8(at + 8) - 1);
  // The word of TTL and protocol became less by 0x0100.
  replaceIpChecksum(view, at, 0x0100, 0);
}

/** Puts right the IPv4 checksum of a header in which words of the sum `before` became words of the sum `after`. */
export function replaceIpChecksum(view: DataView, at: number, before: number, after: number): void {
  const sum = (~view.getUint16(at + 10) & 0xffff) + (~fold32(before) & 0xffff) + fold32(after);
  view.setUint16(at + 10, ~fold32(sum) & 0xffff);
}

/** Bytes of the TCP header at `at`, of which there are at most `length`; zero if it is none. */
export function tcpHeaderBytes(view: DataView, at: number, length: number): number {
  if (length < 20) return 0;
  const bytes = (view.getUint8(at + 12) >> 4) * 4;
  return bytes < 20 || bytes > length ? 0 : bytes;
}
