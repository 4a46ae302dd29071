import { type Ip, ipFromBytes, isUnspecified } from "../../net/ip.ts";
import { attrs, bytes, fixedAttr, flag } from "../../wire/attrs.ts";
import { be16, u32, u8 } from "../../wire/fixed.ts";
import type { LinkKind } from "./link-kind.ts";

/**
 * A tunnel that carries Ethernet frames in UDP (RFC 7348). `IFLA_VXLAN_*` (linux/if_link.h, drivers/net/vxlan). What is absent of
 * a new one is the kernel's default; what the kernel shows of one that is there is complete but for the addresses.
 */
export interface Vxlan {
  readonly kind: "vxlan";
  /** The network's number on the wire (VNI), 0 to 16777215. */
  readonly id: number;
  /** UDP port that it sends to and listens on; absent: the kernel's, 8472. */
  readonly port?: number;
  /** Index of the link of the underlay; absent: whichever the route says. */
  readonly lower?: number;
  /** Source of what it sends; of its family is the underlay. */
  readonly local?: Ip;
  /** Where it sends frames for which it has no forwarding entry: a host, or a multicast group. */
  readonly group?: Ip;
  /** Time to live of what it sends; 0: the kernel's default. */
  readonly ttl?: number;
  /** Forwarding entries are made of what it receives. */
  readonly learning?: boolean;
  /** The packet's mark travels with it (group based policy). */
  readonly gbp?: boolean;
  /** The kernel tells listeners about frames without a forwarding entry. */
  readonly l2miss?: boolean;
  /** The kernel tells listeners about addresses without a neighbour. */
  readonly l3miss?: boolean;
  /** Outer UDP checksums over IPv4. */
  readonly udpChecksum?: boolean;
  /** Sends without outer UDP checksums over IPv6. */
  readonly udp6ZeroChecksumSend?: boolean;
  /** Takes what comes without outer UDP checksums over IPv6. */
  readonly udp6ZeroChecksumReceive?: boolean;
}

const data = attrs("IFLA_VXLAN", {
  id: [1, fixedAttr(u32)],
  group: [2, bytes],
  lower: [3, fixedAttr(u32)],
  local: [4, bytes],
  ttl: [5, fixedAttr(u8)],
  learning: [7, fixedAttr(u8)],
  l2miss: [13, fixedAttr(u8)],
  l3miss: [14, fixedAttr(u8)],
  port: [15, fixedAttr(be16)],
  group6: [16, bytes],
  local6: [17, bytes],
  udpChecksum: [18, fixedAttr(u8)],
  udp6ZeroChecksumSend: [19, fixedAttr(u8)],
  udp6ZeroChecksumReceive: [20, fixedAttr(u8)],
  gbp: [23, flag],
});

const numbers = ["id", "port", "lower", "ttl"] as const;
const switches = [
  "learning",
  "l2miss",
  "l3miss",
  "udpChecksum",
  "udp6ZeroChecksumSend",
  "udp6ZeroChecksumReceive",
] as const;

const addressIn = (v4: Uint8Array | undefined, v6: Uint8Array | undefined): Ip | undefined => {
  const raw = v4 ?? v6;
  if (raw === undefined || (raw.length !== 4 && raw.length !== 16)) return undefined;
  const ip = ipFromBytes(raw);
  return isUnspecified(ip) ? undefined : ip;
};

export const vxlanKind: LinkKind<Vxlan> = {
  encode: (type) => {
    const { local, group } = type;
    const value: Parameters<typeof data.encode>[0] = {};
    for (const key of numbers) if (type[key] !== undefined) value[key] = type[key];
    for (const key of switches) if (type[key] !== undefined) value[key] = Number(type[key]);
    // The kernel takes the mere presence of this one as yes.
    if (type.gbp === true) value.gbp = true;
    if (local) value[local.family === 4 ? "local" : "local6"] = local.bytes;
    if (group) value[group.family === 4 ? "group" : "group6"] = group.bytes;
    return data.encode(value);
  },
  decode(raw) {
    const a = data.decode(raw);
    if (a.id === undefined) return undefined;
    const local = addressIn(a.local, a.local6);
    const group = addressIn(a.group, a.group6);
    const on = (value: number | undefined): boolean => value !== undefined && value !== 0;
    return {
      kind: "vxlan",
      id: a.id,
      ...(a.port === undefined ? {} : { port: a.port }),
      ...(a.lower ? { lower: a.lower } : {}),
      ...(local ? { local } : {}),
      ...(group ? { group } : {}),
      ttl: a.ttl ?? 0,
      learning: on(a.learning),
      gbp: a.gbp === true,
      l2miss: on(a.l2miss),
      l3miss: on(a.l3miss),
      udpChecksum: on(a.udpChecksum),
      udp6ZeroChecksumSend: on(a.udp6ZeroChecksumSend),
      udp6ZeroChecksumReceive: on(a.udp6ZeroChecksumReceive),
    };
  },
};
