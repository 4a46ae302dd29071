/**
 * Who the other hosts are, and the table in which a worker looks up the one behind a container's address: sorted ranges,
 * found by halving, so that a look-up allocates nothing and costs the same for any order of the peers.
 */
import { type Ip, type IpPrefix, isUnspecified } from "../net/ip.ts";
import { SOCKADDR_BYTES } from "../sys/messages.ts";

export interface Peer {
  /** Tells one from another; for people. */
  readonly id: string;
  /** What is behind it. Of two that hold an address the longer one counts. */
  readonly subnets: readonly IpPrefix[];
  /** Where it takes datagrams in the underlay. */
  readonly ip: Ip;
  readonly port: number;
  /** It is a Heddle forwarder: it completes checksums itself. Others get packets as they would be on a wire. */
  readonly heddle: boolean;
}

/** Peers as a worker has them: plain arrays, which go to another thread as they are. */
export interface PeerTable {
  readonly v4: Ranges;
  readonly v6: Ranges;
  /** `struct sockaddr_in` or `sockaddr_in6` of each peer, `SOCKADDR_BYTES` apart. */
  readonly addresses: Uint8Array<ArrayBuffer>;
  /** 1 for a Heddle forwarder. */
  readonly heddle: Uint8Array<ArrayBuffer>;
}

/** Where a peer's part begins, and whose it is until the next one begins; -1 is nobody. The first begins at zero. */
interface Ranges {
  /** One word of 32 bits for IPv4, four for IPv6, for each range. */
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly peers: Int32Array<ArrayBuffer>;
}

const AF_INET = 2;
const AF_INET6 = 10;

/** `family` is that of the socket: one of IPv6 sends to IPv4 addresses too, by their mapped form. */
export function peerTable(peers: readonly Peer[], family: 4 | 6): PeerTable {
  const addresses = new Uint8Array(new ArrayBuffer(Math.max(1, peers.length) * SOCKADDR_BYTES));
  peers.forEach((peer, i) => addresses.set(socketAddress(peer, family), i * SOCKADDR_BYTES));
  return {
    v4: rangesOf(peers, 4),
    v6: rangesOf(peers, 6),
    addresses,
    heddle: Uint8Array.from(peers, ({ heddle }) => (heddle ? 1 : 0)),
  };
}

/** `struct sockaddr_in` or `struct sockaddr_in6` for a socket of that family. */
export function socketAddress(
  { ip, port }: Pick<Peer, "ip" | "port">,
  family: 4 | 6,
): Uint8Array<ArrayBuffer> {
  if (family === 4 && ip.family === 6)
    throw new RangeError(`${ip.text} cannot be reached from an IPv4 socket`);
  const bytes = new Uint8Array(new ArrayBuffer(family === 4 ? 16 : 28));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port);
  if (family === 4) bytes.set(ip.bytes, 4);
  else if (ip.family === 6) bytes.set(ip.bytes, 8);
  else {
    // An address of nobody stays one: `::`, on which a socket hears both families.
    if (!isUnspecified(ip)) view.setUint16(18, 0xffff);
    bytes.set(ip.bytes, 20);
  }
  return bytes;
}

interface Span {
  readonly from: bigint;
  /** The first number behind it. */
  readonly to: bigint;
  readonly bits: number;
  readonly peer: number;
}

/** Prefixes lie apart or one in the other: going through them from left to right, the innermost open one counts. */
function rangesOf(peers: readonly Peer[], family: 4 | 6): Ranges {
  const width = family === 4 ? 32 : 128;
  const spans = peers
    .flatMap(({ subnets }, peer) =>
      subnets.filter(({ ip }) => ip.family === family).map((subnet) => spanOf(subnet, width, peer)),
    )
    .sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : a.bits - b.bits || a.peer - b.peer));
  const starts: bigint[] = [0n];
  const owners: number[] = [-1];
  const begin = (at: bigint, peer: number): void => {
    if (at === 1n << BigInt(width)) return;
    if (starts.at(-1) === at) owners[owners.length - 1] = peer;
    else if (owners.at(-1) !== peer) {
      starts.push(at);
      owners.push(peer);
    }
  };
  const open: Span[] = [];
  const close = (until: bigint): void => {
    for (let top = open.at(-1); top !== undefined && top.to <= until; top = open.at(-1)) {
      open.pop();
      begin(top.to, open.at(-1)?.peer ?? -1);
    }
  };
  for (const span of spans) {
    close(span.from);
    begin(span.from, span.peer);
    open.push(span);
  }
  close(1n << BigInt(width));
  return { starts: wordsOf(starts, width), peers: Int32Array.from(owners) };
}

function spanOf({ ip, bits }: IpPrefix, width: number, peer: number): Span {
  const size = 1n << BigInt(width - bits);
  const number = ip.bytes.reduce((n, b) => (n << 8n) | BigInt(b), 0n);
  const from = number - (number % size);
  return { from, to: from + size, bits, peer };
}

function wordsOf(numbers: readonly bigint[], width: number): Uint32Array<ArrayBuffer> {
  const words = width / 32;
  const into = new Uint32Array(new ArrayBuffer(numbers.length * words * 4));
  numbers.forEach((n, i) => {
    for (let w = 0; w < words; w++)
      into[i * words + w] = Number((n >> BigInt(32 * (words - 1 - w))) & 0xffff_ffffn);
  });
  return into;
}

/** The number of the peer behind the IPv4 address whose four bytes are at `at`, or -1. */
export function findPeer4({ starts, peers }: Ranges, view: DataView, at: number): number {
  const address = view.getUint32(at);
  let low = 0;
  let high = peers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] ?? 0) <= address) low = middle;
    else high = middle - 1;
  }
  return peers[low] ?? -1;
}

/** As `findPeer4`, for the sixteen bytes of an IPv6 address. */
export function findPeer6({ starts, peers }: Ranges, view: DataView, at: number): number {
  let low = 0;
  let high = peers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (isAtMost(starts, middle * 4, view, at)) low = middle;
    else high = middle - 1;
  }
  return peers[low] ?? -1;
}

/** The four words from `from` are at most the sixteen bytes at `at`. */
function isAtMost(starts: Uint32Array, from: number, view: DataView, at: number): boolean {
  for (let w = 0; w < 4; w++) {
    const start = starts[from + w] ?? 0;
    const word = view.getUint32(at + w * 4);
    if (start !== word) return start < word;
  }
  return true;
}
