/**
 * A packet of which not everything is known: its headers as rules see them. What a sender chooses anew each time (its port, an
 * identifier, the length) is unknown; what plain programs leave alone has its usual value.
 */
import { type Family, type Ip, ipFromBytes } from "../../net/ip.ts";
import { type Mac, macToBytes } from "../../net/mac.ts";
import { big16, type Bits, byte, isKnown, known, slice, splice, unknown } from "./bits.ts";

export interface Packet {
  /** IEEE 802: what the frame carries. */
  readonly etherType: number;
  /** Destination, source and type; absent where no link has been chosen yet. */
  readonly link?: Bits;
  readonly network: Bits;
  readonly transport?: Bits;
  /** IANA's number of what `transport` is. */
  readonly protocol?: number;
}

export const etherTypes = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
/** IANA's numbers. */
export const protocols = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** Flags of a TCP header. */
export const tcpFlags = { syn: 0x02, rst: 0x04, ack: 0x10 } as const;

export interface Outline {
  readonly source: Ip;
  readonly destination: Ip;
  readonly ttl: number;
  readonly transport: Transport;
}
export type Transport =
  | {
      readonly kind: "tcp" | "udp";
      readonly sourcePort: Bits;
      readonly destinationPort: Bits;
      readonly flags?: number;
    }
  | { readonly kind: "icmp"; readonly type: number };

const protocolOf = ({ kind }: Transport, family: Family): number =>
  kind === "icmp" ? (family === 4 ? protocols.icmp : protocols.icmpv6) : protocols[kind];

function transportBits(t: Transport): Bits {
  if (t.kind === "icmp") return splice(unknown(8), 0, known(Uint8Array.of(t.type, 0)));
  const ports = splice(splice(unknown(t.kind === "tcp" ? 20 : 8), 0, t.sourcePort), 2, t.destinationPort);
  return t.kind === "tcp" && t.flags !== undefined ? splice(ports, 13, byte(t.flags)) : ports;
}

const SOURCE = { 4: 12, 6: 8 } as const;
const DESTINATION = { 4: 16, 6: 24 } as const;
const ADDRESS_BYTES = { 4: 4, 6: 16 } as const;

/** A packet without options (RFC 791, RFC 8200). */
export function packetOf({ source, destination, ttl, transport }: Outline): Packet {
  const { family } = source;
  const protocol = protocolOf(transport, family);
  const head =
    family === 4
      ? splice(splice(unknown(20), 0, known(Uint8Array.of(0x45, 0))), 8, known(Uint8Array.of(ttl, protocol)))
      : splice(splice(unknown(40), 0, byte(0x60)), 6, known(Uint8Array.of(protocol, ttl)));
  // Nothing is cut into fragments.
  const whole =
    family === 4 ? splice(head, 6, { bytes: new Uint8Array(2), known: Uint8Array.of(0xbf, 0xff) }) : head;
  const addressed = splice(
    splice(whole, SOURCE[family], known(source.bytes)),
    DESTINATION[family],
    known(destination.bytes),
  );
  return {
    etherType: family === 4 ? etherTypes.ipv4 : etherTypes.ipv6,
    network: addressed,
    transport: transportBits(transport),
    protocol,
  };
}

/** A question of ARP, or its answer (RFC 826). */
export function arpPacket(
  asks: { readonly from: Ip; readonly mac: Mac; readonly for: Ip },
  answer: boolean,
): Packet {
  const head = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, answer ? 2 : 1);
  return {
    etherType: etherTypes.arp,
    network: known(
      Uint8Array.from([
        ...head,
        ...macToBytes(asks.mac),
        ...asks.from.bytes,
        0,
        0,
        0,
        0,
        0,
        0,
        ...asks.for.bytes,
      ]),
    ),
  };
}

export const familyOf = (p: Packet): Family | undefined =>
  p.etherType === etherTypes.ipv4 ? 4 : p.etherType === etherTypes.ipv6 ? 6 : undefined;

const addressAt = (p: Packet, offsets: Readonly<Record<Family, number>>): Ip | undefined => {
  const family = familyOf(p);
  const bits = family && slice(p.network, offsets[family], ADDRESS_BYTES[family]);
  return bits && isKnown(bits) ? ipFromBytes(bits.bytes) : undefined;
};
/** Undefined: not known. */
export const sourceOf = (p: Packet): Ip | undefined => addressAt(p, SOURCE);
export const destinationOf = (p: Packet): Ip | undefined => addressAt(p, DESTINATION);

const hasPorts = (p: Packet): boolean => p.protocol === protocols.tcp || p.protocol === protocols.udp;
/** Source and destination port; undefined of what has none. */
export const portsOf = (p: Packet): { readonly source: Bits; readonly destination: Bits } | undefined =>
  p.transport && hasPorts(p)
    ? { source: slice(p.transport, 0, 2), destination: slice(p.transport, 2, 2) }
    : undefined;

/** One end of a packet. */
export interface End {
  readonly address?: Bits;
  readonly port?: Bits;
}

function withEnd(p: Packet, offsets: Readonly<Record<Family, number>>, portAt: number, end: End): Packet {
  const family = familyOf(p);
  if (family === undefined) return p;
  const network = end.address ? splice(p.network, offsets[family], end.address) : p.network;
  const transport =
    end.port && p.transport && hasPorts(p) ? splice(p.transport, portAt, end.port) : p.transport;
  return { ...p, network, ...(transport ? { transport } : {}) };
}
export const withSource = (p: Packet, end: End): Packet => withEnd(p, SOURCE, 0, end);
export const withDestination = (p: Packet, end: End): Packet => withEnd(p, DESTINATION, 2, end);

/** The packet in a frame. */
export const framed = (p: Packet, source: Mac | undefined, destination: Mac): Packet => ({
  ...p,
  link: splice(
    splice(
      splice(unknown(14), 0, known(macToBytes(destination))),
      6,
      source ? known(macToBytes(source)) : unknown(6),
    ),
    12,
    big16(p.etherType),
  ),
});

const TTL_AT = { 4: 8, 6: 7 } as const;
export const ttlOf = (p: Packet): number => p.network.bytes[TTL_AT[familyOf(p) ?? 4]] ?? 0;
/** As a router sends it on. */
export const forwarded = (p: Packet): Packet => {
  const family = familyOf(p);
  return family === undefined ? p : { ...p, network: splice(p.network, TTL_AT[family], byte(ttlOf(p) - 1)) };
};
