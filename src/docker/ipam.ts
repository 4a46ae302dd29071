/** Calls of the IPAM driver. They need nothing but the book, and are answered at once. */
import { invalid, type JsonObject } from "../cni/json.ts";
import { prefix } from "../net/ip.ts";
import { type Book, dropPool, dropTaken, putPool, putTaken } from "./book.ts";
import { chooseAddress, makePool, SPACES } from "./pools.ts";
import { readPoolId, readReleaseAddress, readRequestAddress, readRequestPool } from "./requests.ts";

export const addressSpaces = (): object => ({
  LocalDefaultAddressSpace: SPACES.local,
  GlobalDefaultAddressSpace: SPACES.global,
});

/** Docker need not repeat its requests when it starts again: all is kept here. */
export const ipamCapabilities = (): object => ({ RequiresMACAddress: false, RequiresRequestReplay: false });

export function requestPool(book: Book, request: JsonObject): object {
  const { AddressSpace, Pool, SubPool, Options, V6 } = readRequestPool(request, "");
  // Docker's own notes begin so; everything else came by --ipam-opt.
  const unknown = Object.keys(Options).find((key) => !key.startsWith("com.docker."));
  if (unknown !== undefined)
    invalid(`Options.${unknown}`, "is no option of this IPAM driver, which has none");
  const inUse = Pool === undefined ? book.setup.host.routed() : [];
  const pool = makePool(
    { space: AddressSpace || SPACES.local, pool: Pool, range: SubPool, family: V6 ? 6 : 4 },
    [...book.pools.values()],
    inUse,
    crypto.getRandomValues(new Uint8Array(8)),
  );
  putPool(book, pool);
  return { PoolID: pool.id, Pool: pool.pool.text, Data: {} };
}

export function releasePool(book: Book, request: JsonObject): object {
  dropPool(book, readPoolId(request, "").PoolID);
  return {};
}

const TYPE = "RequestAddressType";
const GATEWAY = "com.docker.network.gateway";

export function requestAddress(book: Book, request: JsonObject): object {
  const { PoolID, Address, Options } = readRequestAddress(request, "");
  const pool =
    book.pools.get(PoolID) ??
    invalid("PoolID", `there is no pool ${PoolID} here; remove the network from Docker and create it again`);
  const gateway = Options[TYPE] === GATEWAY;
  const ip = chooseAddress(
    pool,
    book.taken.get(PoolID) ?? new Map(),
    { ip: Address, gateway },
    book.last.get(PoolID),
  );
  putTaken(book, { poolId: PoolID, ip, gateway });
  if (Address === undefined && !gateway) book.last.set(PoolID, ip);
  return { Address: prefix(ip, pool.pool.bits).text, Data: {} };
}

export function releaseAddress(book: Book, request: JsonObject): object {
  const { PoolID, Address } = readReleaseAddress(request, "");
  const taken = book.taken.get(PoolID)?.get(Address.text);
  if (taken !== undefined) dropTaken(book, taken);
  return {};
}
