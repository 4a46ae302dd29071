/**
 * Packets for tests of the user-space data path, made and cut the plain way: byte by byte, each checksum from its
 * definition. What the data path does with tricks is compared with this.
 */
import { ip } from "./address.ts";

export interface PacketSpec {
  readonly from: string;
  readonly to: string;
  readonly protocol: "tcp" | "udp";
  readonly payload: Uint8Array;
  readonly ports?: readonly [number, number];
  readonly hops?: number;
  /** Type of service or traffic class, with the two bits of ECN. */
  readonly tos?: number;
  readonly id?: number;
  readonly dontFragment?: boolean;
  readonly sequence?: number;
  readonly ack?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly ipOptions?: Uint8Array;
  readonly tcpOptions?: Uint8Array;
}

const none = new Uint8Array(0);
const u16 = (n: number): readonly number[] => [(n >>> 8) & 0xff, n & 0xff];
const u32 = (n: number): readonly number[] => [...u16(n >>> 16), ...u16(n & 0xffff)];

/** A whole packet with all checksums complete. */
export function packet(spec: PacketSpec): Uint8Array {
  const segment = spec.protocol === "tcp" ? tcpSegment(spec) : udpDatagram(spec);
  const [from, to] = [ip(spec.from), ip(spec.to)];
  const number = spec.protocol === "tcp" ? 6 : 17;
  const options = spec.ipOptions ?? none;
  const header =
    from.family === 4
      ? [
          ...[0x40 | (5 + options.length / 4), spec.tos ?? 0, ...u16(20 + options.length + segment.length)],
          ...[...u16(spec.id ?? 1), ...u16((spec.dontFragment ?? true) ? 0x4000 : 0)],
          ...[spec.hops ?? 64, number, 0, 0, ...from.bytes, ...to.bytes, ...options],
        ]
      : [
          ...[0x60 | ((spec.tos ?? 0) >> 4), ((spec.tos ?? 0) << 4) & 0xff, 0, 0, ...u16(segment.length)],
          ...[number, spec.hops ?? 64, ...from.bytes, ...to.bytes],
        ];
  return completed(Uint8Array.from([...header, ...segment]));
}

const tcpSegment = (spec: PacketSpec): Uint8Array => {
  const options = spec.tcpOptions ?? none;
  const [from, to] = spec.ports ?? [4000, 80];
  return Uint8Array.from([
    ...[...u16(from), ...u16(to), ...u32(spec.sequence ?? 1), ...u32(spec.ack ?? 1)],
    ...[(5 + options.length / 4) << 4, spec.flags ?? 0x10, ...u16(spec.window ?? 500), 0, 0, 0, 0],
    ...[...options, ...spec.payload],
  ]);
};

const udpDatagram = (spec: PacketSpec): Uint8Array => {
  const [from, to] = spec.ports ?? [4000, 80];
  return Uint8Array.from([...u16(from), ...u16(to), ...u16(8 + spec.payload.length), 0, 0, ...spec.payload]);
};

/** Where things are in a packet that this file made. */
export function layout(bytes: Uint8Array): {
  readonly v4: boolean;
  readonly start: number;
  readonly tcp: boolean;
  readonly headers: number;
  readonly field: number;
} {
  const v4 = (bytes[0] ?? 0) >> 4 === 4;
  const start = v4 ? ((bytes[0] ?? 0) & 15) * 4 : 40;
  const tcp = bytes[v4 ? 9 : 6] === 6;
  const headers = start + (tcp ? ((bytes[start + 12] ?? 0) >> 4) * 4 : 8);
  return { v4, start, tcp, headers, field: start + (tcp ? 16 : 6) };
}

/** The sum of 16-bit words, folded. */
export function plainSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function pseudo(bytes: Uint8Array): Uint8Array {
  const { v4, start, tcp } = layout(bytes);
  const addresses = v4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  return Uint8Array.from([...addresses, 0, tcp ? 6 : 17, ...u16(bytes.length - start)]);
}

const put16 = (bytes: Uint8Array, at: number, n: number): void => bytes.set(u16(n), at);
const get16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

/** A copy with the IPv4 header's checksum and that of TCP or UDP as they must be. */
export function completed(bytes: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  const { v4, start, tcp, field } = layout(out);
  if (v4) {
    put16(out, 10, 0);
    put16(out, 10, ~plainSum(out.subarray(0, start)));
  }
  put16(out, field, 0);
  const sum = ~plainSum(Uint8Array.from([...pseudo(out), ...out.subarray(start)])) & 0xffff;
  put16(out, field, sum === 0 && !tcp ? 0xffff : sum);
  return out;
}

/** A copy whose transport checksum is left undone, as the kernel gives it to a device that computes it. */
export function partial(bytes: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  put16(out, layout(out).field, plainSum(pseudo(out)));
  return out;
}

/** The header that the kernel puts before a packet: what is left to be done. `size` of zero: no segments. */
export function virtio(bytes: Uint8Array, size: number): Uint8Array {
  const { v4, start, tcp, headers, field } = layout(bytes);
  const type = size === 0 ? 0 : tcp ? (v4 ? 1 : 4) : 5;
  const low = (n: number): readonly number[] => [n & 0xff, n >> 8];
  return Uint8Array.from([1, type, ...low(headers), ...low(size), ...low(start), ...low(field - start)]);
}

/** The header of a packet at which nothing is left to do. */
export const nothingLeft = new Uint8Array(10);

/** What a wire would carry of a packet with so many bytes of payload a segment. */
export function segmentsOf(bytes: Uint8Array, size: number): readonly Uint8Array[] {
  const { v4, start, tcp, headers } = layout(bytes);
  if (size === 0 || bytes.length - headers <= size) return [completed(bytes)];
  const segments: Uint8Array[] = [];
  for (let from = headers; from < bytes.length; from += size) {
    const payload = bytes.subarray(from, from + size);
    const isLast = from + size >= bytes.length;
    const segment = Uint8Array.from([...bytes.subarray(0, headers), ...payload]);
    const n = segments.length;
    if (v4) {
      put16(segment, 2, segment.length);
      put16(segment, 4, get16(bytes, 4) + n);
    } else put16(segment, 4, segment.length - 40);
    if (tcp) {
      const sequence = new DataView(bytes.buffer, bytes.byteOffset).getUint32(start + 4);
      new DataView(segment.buffer).setUint32(start + 4, sequence + n * size);
      const flags = segment[start + 13] ?? 0;
      segment[start + 13] = flags & (n > 0 ? 0x7f : 0xff) & (isLast ? 0xff : 0xf6);
    } else put16(segment, start + 4, segment.length - start);
    segments.push(completed(segment));
  }
  return segments;
}

/** A packet after one hop. */
export function oneHopOn(bytes: Uint8Array): Uint8Array {
  const out = Uint8Array.from(bytes);
  const at = layout(out).v4 ? 8 : 7;
  out[at] = (out[at] ?? 0) - 1;
  return completed(out);
}
