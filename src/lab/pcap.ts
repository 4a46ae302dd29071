/**
 * Files of captured packets, in the form that tcpdump and Wireshark read: the classic one of libpcap with stamps of nanoseconds
 * (draft-ietf-opsawg-pcap). Pure.
 */
import { struct, u16, u32, viewOf } from "../wire/fixed.ts";

/** The magic number of stamps in nanoseconds, in this machine's byte order. */
const MAGIC = 0xa1b23c4d;
/** Longer packets are cut. */
export const SNAP_BYTES = 262_144;

const fileHeader = struct("pcap_file_header", 24, {
  magic: u32,
  major: u16,
  minor: u16,
  zone: u32,
  accuracy: u32,
  snapLength: u32,
  linkType: u32,
});
const packetHeader = struct("pcap_sf_pkthdr", 16, {
  seconds: u32,
  nanoseconds: u32,
  captured: u32,
  length: u32,
});

/** LINKTYPE_ETHERNET and LINKTYPE_RAW: an IP packet without anything before it. */
const linkTypes = { ethernet: 1, raw: 101 } as const;
/** ARPHRD_ETHER and ARPHRD_LOOPBACK (linux/if_arp.h): frames with an Ethernet header. */
const WITH_ETHERNET: readonly number[] = [1, 772];

/** What a file of packets of such a link begins with; `hardware` is its ARPHRD_* number. */
export function pcapHeader(hardware: number): Uint8Array {
  const out = new Uint8Array(fileHeader.size);
  fileHeader.set(viewOf(out), 0, {
    magic: MAGIC,
    major: 2,
    minor: 4,
    zone: 0,
    accuracy: 0,
    snapLength: SNAP_BYTES,
    linkType: WITH_ETHERNET.includes(hardware) ? linkTypes.ethernet : linkTypes.raw,
  });
  return out;
}

const NANOSECONDS = 1_000_000_000n;

/** One packet; `at` is in nanoseconds since 1970. */
export function pcapPacket(bytes: Uint8Array, at: bigint): Uint8Array {
  const captured = Math.min(bytes.length, SNAP_BYTES);
  const out = new Uint8Array(packetHeader.size + captured);
  packetHeader.set(viewOf(out), 0, {
    seconds: Number(at / NANOSECONDS),
    nanoseconds: Number(at % NANOSECONDS),
    captured,
    length: bytes.length,
  });
  out.set(bytes.subarray(0, captured), packetHeader.size);
  return out;
}
