/**
 * WireGuard devices and their peers (linux/wireguard.h, Linux 5.6): what a link of the kind `wireguard` is beyond a link. The
 * socket is one of `openNetlink("generic")` of the namespace that the device was made in or is in.
 */
import { type Ip, ipFromBytes, type IpPrefix, prefix } from "../net/ip.ts";
import {
  SecretKey,
  type WireguardKey,
  wireguardKeyBytes,
  wireguardKeyFrom,
  type WireguardKeyPair,
} from "../net/wireguard-key.ts";
import type { Message, Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, type AttrValue, bytes, cstr, fixedAttr, listOf } from "../wire/attrs.ts";
import { be16, encodeFixed, octets, pad, struct, u16, u32, u64, u8, viewOf } from "../wire/fixed.ts";
import { genericAnswer, genericRequest } from "./family.ts";

/** The family's name. */
export const WIREGUARD = "wireguard";
const GET_DEVICE = { number: 0, name: "WG_CMD_GET_DEVICE" } as const;
const SET_DEVICE = 1;

const timespec = struct("__kernel_timespec", 16, { seconds: u64, nanoseconds: u64 });
const allowedAttrs = attrs("WGALLOWEDIP_A", {
  family: [1, fixedAttr(u16)],
  address: [2, bytes],
  bits: [3, fixedAttr(u8)],
});
const peerAttrs = attrs("WGPEER_A", {
  publicKey: [1, bytes],
  presharedKey: [2, bytes],
  flags: [3, fixedAttr(u32)],
  endpoint: [4, bytes],
  keepaliveSeconds: [5, fixedAttr(u16)],
  lastHandshake: [6, fixedAttr(timespec)],
  receivedBytes: [7, fixedAttr(u64)],
  sentBytes: [8, fixedAttr(u64)],
  allowed: [9, listOf("WGPEER_A_ALLOWEDIPS", 0, allowedAttrs)],
  protocolVersion: [10, fixedAttr(u32)],
});
export const wireguardAttrs = attrs("WGDEVICE_A", {
  index: [1, fixedAttr(u32)],
  name: [2, cstr],
  privateKey: [3, bytes],
  publicKey: [4, bytes],
  flags: [5, fixedAttr(u32)],
  listenPort: [6, fixedAttr(u16)],
  mark: [7, fixedAttr(u32)],
  peers: [8, listOf("WGDEVICE_A_PEERS", 0, peerAttrs)],
});

/** WGPEER_F_…. */
const flag = { remove: 1, replaceAllowed: 2, updateOnly: 4 } as const;

const AF = { 4: 2, 6: 10 } as const;
/** `struct sockaddr_in` and `sockaddr_in6` (linux/in.h, linux/in6.h). */
const sockaddrs = {
  4: struct("sockaddr_in", 16, { family: u16, port: be16, address: octets(4), _zero: pad(8) }),
  6: struct("sockaddr_in6", 28, {
    family: u16,
    port: be16,
    _flow: pad(4),
    address: octets(16),
    _scope: pad(4),
  }),
} as const;

/** Where a peer is reached. */
export interface WireguardEndpoint {
  readonly ip: Ip;
  /** UDP, 1 to 65535. */
  readonly port: number;
}

export interface WireguardPeer {
  readonly publicKey: WireguardKey;
  readonly presharedKey?: SecretKey;
  /** Where it was heard of last, or what was set if that was later. */
  readonly endpoint?: WireguardEndpoint;
  /** 0: none is sent. */
  readonly keepaliveSeconds: number;
  /** What it may send, and what is sent to it. */
  readonly allowed: readonly IpPrefix[];
  /** When keys were last agreed upon, in milliseconds since the epoch; absent: never. */
  readonly handshakeMs?: number;
}

export interface WireguardDevice {
  readonly index: number;
  /** Of its private key, which is not told. Absent: it has none. */
  readonly publicKey?: WireguardKey;
  /** UDP. */
  readonly listenPort: number;
  readonly peers: readonly WireguardPeer[];
}

type RawPeer = AttrValue<typeof peerAttrs>;

/**
 * A device with all of its peers, by the number of its link.
 * @throws netlink/refused ENODEV if there is no such link, EOPNOTSUPP if it is of another kind
 */
export function getWireguard(socket: NetlinkSocket, family: number, index: number): WireguardDevice {
  const request = genericRequest(family, GET_DEVICE, wireguardAttrs, { index });
  return decodeWireguard(socket.dump({ ...request, what: `${request.what} #${index}` }));
}

/**
 * Puts the messages together that tell of one device: with many peers there are several, and a peer whose prefixes do not fit into
 * one goes on in the next.
 */
export function decodeWireguard(messages: readonly Pick<Message, "body">[]): WireguardDevice {
  let index = 0;
  let listenPort = 0;
  let publicKey: WireguardKey | undefined;
  const peers: { -readonly [K in keyof WireguardPeer]: WireguardPeer[K] }[] = [];
  for (const message of messages) {
    const device = genericAnswer(message, wireguardAttrs);
    index = device.index ?? index;
    listenPort = device.listenPort ?? listenPort;
    publicKey ??= device.publicKey && wireguardKeyFrom(device.publicKey);
    for (const raw of device.peers ?? []) {
      const peer = peerOf(raw);
      const before = peers.at(-1);
      if (peer === undefined) continue;
      if (before?.publicKey === peer.publicKey) before.allowed = [...before.allowed, ...peer.allowed];
      else peers.push(peer);
    }
  }
  return { index, listenPort, ...(publicKey ? { publicKey } : {}), peers };
}

function peerOf(raw: RawPeer): WireguardPeer | undefined {
  const publicKey = raw.publicKey && wireguardKeyFrom(raw.publicKey);
  if (publicKey === undefined) return undefined;
  const presharedKey = raw.presharedKey && SecretKey.from(raw.presharedKey);
  const endpoint = raw.endpoint && endpointOf(raw.endpoint);
  const { seconds = 0n, nanoseconds = 0n } = raw.lastHandshake ?? {};
  return {
    publicKey,
    ...(presharedKey ? { presharedKey } : {}),
    ...(endpoint ? { endpoint } : {}),
    keepaliveSeconds: raw.keepaliveSeconds ?? 0,
    allowed: (raw.allowed ?? []).flatMap(({ address, bits }) =>
      address === undefined || bits === undefined || ![4, 16].includes(address.length)
        ? []
        : [prefix(ipFromBytes(address), bits)],
    ),
    ...(seconds === 0n ? {} : { handshakeMs: Number(seconds) * 1000 + Number(nanoseconds / 1_000_000n) }),
  };
}

function endpointOf(raw: Uint8Array): WireguardEndpoint | undefined {
  const { size } = raw.length === sockaddrs[4].size ? sockaddrs[4] : sockaddrs[6];
  if (raw.length !== size) return undefined;
  const { port, address } = sockaddrs[size === sockaddrs[4].size ? 4 : 6].get(viewOf(raw), 0);
  return { ip: ipFromBytes(address), port };
}

/** A request that gives a device its key and its port. Peers stay, but for one with this very key. */
export const wireguardSetting = (
  family: number,
  index: number,
  { privateKey, listenPort }: Pick<WireguardKeyPair, "privateKey"> & { readonly listenPort: number },
): Request =>
  genericRequest(family, { number: SET_DEVICE, name: `WG_CMD_SET_DEVICE #${index}` }, wireguardAttrs, {
    index,
    privateKey: privateKey.reveal(),
    listenPort,
  });

/** What is to become of a peer. What is absent stays as it is. */
export interface PeerChange {
  readonly publicKey: WireguardKey;
  readonly presharedKey?: SecretKey | "none";
  readonly endpoint?: WireguardEndpoint;
  readonly keepaliveSeconds?: number;
  /** A prefix that another peer has is taken from it. */
  readonly allowed?: readonly IpPrefix[];
  /** The peer loses other prefixes; for a moment it has none. */
  readonly onlyThese?: boolean;
  /** A peer that is not there is not made, and nothing is said. */
  readonly onlyIfThere?: boolean;
}

const NO_KEY = new Uint8Array(32);

/**
 * A request that adds a peer or changes one. One peer a request: the kernel says of each what was wrong with it, and many requests
 * travel in one datagram (`NetlinkSocket.batch`). A peer with the device's own key is passed over by the kernel without a word.
 */
export function peerSetting(family: number, index: number, change: PeerChange): Request {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowed } = change;
  const flags =
    (change.onlyThese === true ? flag.replaceAllowed : 0) |
    (change.onlyIfThere === true ? flag.updateOnly : 0);
  return peerRequest(family, index, {
    publicKey: wireguardKeyBytes(publicKey),
    flags,
    ...(presharedKey ? { presharedKey: presharedKey === "none" ? NO_KEY : presharedKey.reveal() } : {}),
    ...(endpoint ? { endpoint: encodeEndpoint(endpoint) } : {}),
    ...(keepaliveSeconds === undefined ? {} : { keepaliveSeconds }),
    ...(allowed ? { allowed: allowed.map(encodeAllowed) } : {}),
  });
}

/** A request that removes a peer; one that is not there is no error. */
export const peerRemoval = (family: number, index: number, publicKey: WireguardKey): Request =>
  peerRequest(family, index, { publicKey: wireguardKeyBytes(publicKey), flags: flag.remove });

const peerRequest = (family: number, index: number, peer: RawPeer): Request =>
  genericRequest(family, { number: SET_DEVICE, name: `WG_CMD_SET_DEVICE #${index} peer` }, wireguardAttrs, {
    index,
    peers: [peer],
  });

function encodeEndpoint({ ip, port }: WireguardEndpoint): Uint8Array {
  return encodeFixed<{ family: number; port: number; address: Uint8Array }>(sockaddrs[ip.family], {
    family: AF[ip.family],
    port,
    address: ip.bytes,
  });
}

const encodeAllowed = ({ ip, bits }: IpPrefix): AttrValue<typeof allowedAttrs> => ({
  family: AF[ip.family],
  address: ip.bytes,
  bits,
});
