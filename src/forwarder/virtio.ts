/**
 * The header before each packet of the TUN device: what is left to do at it (`struct virtio_net_hdr`,
 * linux/virtio_net.h, without the field for merged buffers). In the machine's byte order, which is little-endian here.
 */
export const VIRTIO_BYTES = 10;
/** Places in the header. */
export const AT = {
  flags: 0,
  gsoType: 1,
  headerBytes: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
} as const;
/** The checksum at `checksumStart + checksumOffset` has the pseudo-header's sum, and the rest is to be summed. */
export const NEEDS_CHECKSUM = 1;
export const GSO = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const;
/** Beside a type of TCP: the sender's window was reduced (CWR is set in the first segment). */
export const GSO_ECN = 0x80;

/** Writes a header of ten bytes. All numbers are bytes within the packet. */
export function writeVirtio(
  view: DataView,
  at: number,
  gsoType: number,
  headerBytes: number,
  gsoSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  view.setUint8(at, checksumStart === 0 ? 0 : NEEDS_CHECKSUM);
  view.setUint8(at + AT.gsoType, gsoType);
  view.setUint16(at + AT.headerBytes, headerBytes, true);
  view.setUint16(at + AT.gsoSize, gsoSize, true);
  view.setUint16(at + AT.checksumStart, checksumStart, true);
  view.setUint16(at + AT.checksumOffset, checksumOffset, true);
}
