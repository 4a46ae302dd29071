import { type Ip, ipFromBytes } from "../net/ip.ts";
import { type Mac, macFromBytes, macToBytes, parseMac } from "../net/mac.ts";

/**
 * Types of set keys and map data, as nft numbers and prints them (its `datatype.h`): the kernel keeps the numbers and
 * the bytes without knowing what they mean. A further type is one entry here.
 */
export type Scalar = Ip | Mac | number | string;

interface DataType {
  /** The number by which nft knows the type; concatenations are made of these, six bits each. */
  readonly id: number;
  readonly bytes: number;
  /** Byte order as nft writes it into a set's user data. */
  readonly order: "host" | "network";
  encode(value: Scalar): Uint8Array;
  decode(b: Uint8Array): Scalar;
}

const wrong = (type: string, value: Scalar): TypeError =>
  new TypeError(`not a value of nftables type ${type}: ${JSON.stringify(value)}`);

const address = (type: string, id: number, length: 4 | 16): DataType => ({
  id,
  bytes: length,
  order: "network",
  encode(value) {
    if (typeof value !== "object" || value.bytes.length !== length) throw wrong(type, value);
    return value.bytes;
  },
  decode: ipFromBytes,
});

const integer = (type: string, id: number, length: 1 | 2): DataType => ({
  id,
  bytes: length,
  order: "network",
  encode(value) {
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= 256 ** length)
      throw wrong(type, value);
    return length === 1 ? Uint8Array.of(value) : Uint8Array.of(value >> 8, value & 255);
  },
  decode: (b) => b.reduce((n, x) => n * 256 + x, 0),
});

const IFNAMSIZ = 16;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const dataTypes = {
  ipv4_addr: address("ipv4_addr", 7, 4),
  ipv6_addr: address("ipv6_addr", 8, 16),
  ether_addr: {
    id: 9,
    bytes: 6,
    order: "network",
    encode(value) {
      const mac = typeof value === "string" ? parseMac(value) : undefined;
      if (!mac?.ok) throw wrong("ether_addr", value);
      return macToBytes(mac.value);
    },
    decode: (b) => macFromBytes(b) ?? "",
  },
  inet_proto: integer("inet_proto", 12, 1),
  inet_service: integer("inet_service", 13, 2),
  ifname: {
    id: 41,
    bytes: IFNAMSIZ,
    order: "host",
    encode(value) {
      const name = typeof value === "string" ? encoder.encode(value) : undefined;
      if (name === undefined || name.length === 0 || name.length >= IFNAMSIZ) throw wrong("ifname", value);
      const b = new Uint8Array(IFNAMSIZ);
      b.set(name);
      return b;
    },
    decode: (b) => decoder.decode(b.subarray(0, b.indexOf(0) < 0 ? b.length : b.indexOf(0))),
  },
} as const satisfies Record<string, DataType>;
export type TypeName = keyof typeof dataTypes;

/** One type, or several that stand behind one another (`ipv4_addr . inet_service`). */
export type KeyType = readonly TypeName[];

/** IP protocol numbers of the protocols with ports (RFC 1700 and the IANA registry). */
export const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

const align4 = (n: number): number => (n + 3) & ~3;
/** NFT_DATA_VALUE_MAXLEN: five IPv6 addresses would not fit. */
const MAX_BYTES = 64;

/** Bytes of the whole key; the members of a concatenation fill whole registers of four bytes. */
export function keyBytes(key: KeyType): number {
  const [only] = key;
  const size =
    key.length === 1 && only
      ? dataTypes[only].bytes
      : key.reduce((n, t) => n + align4(dataTypes[t].bytes), 0);
  if (size === 0 || size > MAX_BYTES) throw new RangeError(`a key of ${size} bytes: ${key.join(" . ")}`);
  return size;
}

/** The number of the type; that of a concatenation holds its members, six bits each, the first one highest. */
export const typeNumber = (key: KeyType): number => key.reduce((n, t) => (n << 6) | dataTypes[t].id, 0);

/** BYTEORDER_* of nft: 0 for none (a concatenation), 1 for the host's, 2 for the network's. */
export function byteOrderNumber(key: KeyType): number {
  const [only] = key;
  if (only === undefined || key.length > 1) return 0;
  return dataTypes[only].order === "host" ? 1 : 2;
}

export function encodeKey(key: KeyType, values: readonly Scalar[]): Uint8Array {
  if (values.length !== key.length)
    throw new TypeError(`${values.length} values for a key of ${key.join(" . ")}`);
  const out = new Uint8Array(keyBytes(key));
  let at = 0;
  key.forEach((type, i) => {
    out.set(dataTypes[type].encode(values[i] ?? ""), at);
    at += align4(dataTypes[type].bytes);
  });
  return out;
}

export function decodeKey(key: KeyType, b: Uint8Array): Scalar[] {
  let at = 0;
  return key.map((type) => {
    const value = dataTypes[type].decode(b.subarray(at, at + dataTypes[type].bytes));
    at += align4(dataTypes[type].bytes);
    return value;
  });
}
