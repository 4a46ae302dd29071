/**
 * Pools of addresses, and who of them is taken: the IPAM driver. It is told of no owner, so that an address is taken until
 * Docker releases it.
 */
import {
  type Decode,
  flag,
  invalid,
  type JsonObject,
  object,
  required,
  text,
  withDefault,
} from "../cni/json.ts";
import { NetError } from "../errors.ts";
import {
  addToIp,
  contains,
  fromBigInt,
  type Ip,
  type IpPrefix,
  ipFromBytes,
  lastIp,
  network as networkOf,
  overlaps,
  prefix,
  toBigInt,
  width,
} from "../net/ip.ts";
import { candidates, type Range } from "../plugins/ipam/host-local/ranges.ts";
import { orNone } from "../plugins/shared/option-words.ts";
import { ip as readIp, ipPrefix } from "./decode.ts";

/** Pools at a time, and addresses that are taken of one. */
export const POOLS = 1024;
export const ADDRESSES = 65_536;

/** The names of address spaces, of one host and of many. */
export const SPACES = { local: "heddle-local", global: "heddle-global" } as const;

export interface Pool {
  readonly id: string;
  readonly space: string;
  readonly pool: IpPrefix;
  /** Where addresses are taken from that nobody asked for by name; absent: the whole pool. */
  readonly range?: IpPrefix;
}
/** An address that is taken. */
export interface Taken {
  readonly poolId: string;
  readonly ip: Ip;
  readonly gateway: boolean;
}

const readPool = object({ space: required(text), pool: required(ipPrefix), range: orNone(ipPrefix) });
export const poolOf: Decode<Pool> = (value, at) => {
  const { space, pool, range } = readPool(value, at);
  return { id: idOf(space, pool), space, pool, ...(range ? { range } : {}) };
};
export const rawPool = ({ space, pool, range }: Pool): JsonObject => ({
  space,
  pool: pool.text,
  ...(range ? { range: range.text } : {}),
});
export const takenOf: Decode<Taken> = (value, at) => {
  const { poolId, ip, gateway } = object({
    poolId: required(text),
    ip: required(readIp),
    gateway: withDefault(flag, false),
  })(value, at);
  return { poolId, ip, gateway };
};
export const rawTaken = ({ poolId, ip, gateway }: Taken): JsonObject => ({ poolId, ip: ip.text, gateway });

const idOf = (space: string, pool: IpPrefix): string => `${space}/${pool.text}`;

/** What RequestPool asks for. */
export interface PoolWish {
  readonly space: string;
  readonly pool?: IpPrefix | undefined;
  readonly range?: IpPrefix | undefined;
  readonly family: 4 | 6;
}

/**
 * The pool for a wish.
 * @param present those that there are
 * @param inUse networks that the host reaches already, which a pool that nobody named keeps out of
 * @param random eight bytes, for a network that nobody else has
 * @throws config/invalid, ipam/exhausted
 */
export function makePool(
  wish: PoolWish,
  present: readonly Pool[],
  inUse: readonly IpPrefix[],
  random: Uint8Array,
): Pool {
  const { space, family } = wish;
  if (present.length >= POOLS)
    throw new NetError("ipam/exhausted", { pool: `the plugin, which has ${POOLS}; remove networks` });
  const taken = present.filter((p) => p.space === space).map((p) => p.pool);
  if (wish.pool === undefined) {
    if (wish.range !== undefined) return invalid("SubPool", "is a part of a pool; say --subnet as well");
    const pool = family === 4 ? freePool4([...taken, ...inUse]) : uniqueLocal(random);
    return { id: idOf(space, pool), space, pool };
  }
  const pool = networkOf(wish.pool);
  if (pool.ip.family !== family)
    return invalid("Pool", `${pool.text} is not IPv${family}${family === 6 ? "" : "; say --ipv6 for IPv6"}`);
  if (pool.bits > width(pool.ip) - 2)
    return invalid(
      "Pool",
      `${pool.text} is too small: a host, a gateway and one container need four addresses`,
    );
  const other = taken.find((p) => overlaps(p, pool));
  if (other !== undefined)
    return invalid("Pool", `${pool.text} overlaps ${other.text} of another network; choose another --subnet`);
  const range = wish.range && networkOf(wish.range);
  if (range && (range.bits < pool.bits || !contains(pool, range.ip)))
    return invalid("SubPool", `${range.text} is not a part of ${pool.text}; choose another --ip-range`);
  return { id: idOf(space, pool), space, pool, ...(range && range.text !== pool.text ? { range } : {}) };
}

/** Networks of 254 containers each, for those who name no subnet: see docs/limits.md. */
const OFFERED = { from: Uint8Array.of(10, 213, 0, 0), count: 256, bits: 24 } as const;

function freePool4(taken: readonly IpPrefix[]): IpPrefix {
  const first = ipFromBytes(OFFERED.from);
  // A default route is everywhere and in nobody's way.
  const others = taken.filter((t) => t.bits > 0);
  for (let i = 0; i < OFFERED.count; i++) {
    const pool = prefix(addToIp(first, BigInt(i) << BigInt(32 - OFFERED.bits)), OFFERED.bits);
    if (!others.some((t) => overlaps(t, pool))) return pool;
  }
  throw new NetError("ipam/exhausted", {
    pool: `${first.text}/16, which is offered without --subnet; say one`,
  });
}

/** A network of unique local addresses (RFC 4193): nobody else is to have chosen the same. */
function uniqueLocal(random: Uint8Array): IpPrefix {
  const bytes = new Uint8Array(16);
  bytes.set(random.subarray(0, 8));
  bytes[0] = 0xfd;
  return prefix(ipFromBytes(bytes), 64);
}

/** What RequestAddress asks for. */
export interface AddressWish {
  readonly ip?: Ip | undefined;
  readonly gateway: boolean;
}

/**
 * The address for a wish: the one that was named, else for a gateway the first one of the pool, else the next free one
 * after the last.
 * @param taken addresses of the pool, by their text
 * @throws config/invalid, ipam/taken, ipam/exhausted
 */
export function chooseAddress(
  pool: Pool,
  taken: ReadonlyMap<string, Taken>,
  wish: AddressWish,
  after: Ip | undefined,
): Ip {
  const first = addToIp(pool.pool.ip, 1n);
  const asked = wish.ip ?? (wish.gateway && !taken.has(first.text) ? first : undefined);
  if (asked === undefined) return nextFree(pool, taken, after);
  if (!contains(pool.pool, asked))
    return invalid("Address", `${asked.text} is not in ${pool.pool.text}; choose one of it`);
  if (isEdge(pool.pool, asked))
    return invalid("Address", `${asked.text} is the network or the broadcast address of ${pool.pool.text}`);
  const owner = taken.get(asked.text);
  // Docker repeats what was not answered in time.
  if (owner !== undefined && !(owner.gateway && wish.gateway))
    throw new NetError("ipam/taken", {
      address: asked.text,
      owner: owner.gateway ? "the gateway of the network" : "another container; choose another one",
    });
  return asked;
}

const isEdge = (pool: IpPrefix, ip: Ip): boolean =>
  ip.text === pool.ip.text || (ip.family === 4 && ip.text === lastIp(pool).text);

function nextFree(pool: Pool, taken: ReadonlyMap<string, Taken>, after: Ip | undefined): Ip {
  const range = rangeOf(pool);
  const full = (): NetError =>
    new NetError("ipam/exhausted", {
      pool: `${(pool.range ?? pool.pool).text}; remove containers or choose a larger one`,
    });
  if (taken.size >= ADDRESSES) throw full();
  for (const { ip } of candidates([range], after)) if (!taken.has(ip.text)) return ip;
  throw full();
}

/** What addresses are taken from. None is the gateway: Docker asks for that by itself. */
function rangeOf({ pool, range = pool }: Pool): Range {
  const start = range.ip.text === pool.ip.text ? addToIp(range.ip, 1n) : range.ip;
  const edge = lastIp(range);
  const end = isEdge(pool, edge) ? fromBigInt(toBigInt(edge) - 1n, edge) : edge;
  return { subnet: pool, gateway: pool.ip, start, end, first: toBigInt(start), last: toBigInt(end) };
}
