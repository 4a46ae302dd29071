/**
 * The plugin's book: what there is, in memory and on disk the same. It decides nothing.
 */
import { errorText } from "../cni/errors.ts";
import type { ToldCall } from "../cni/journal.ts";
import { anyObject, flag, type JsonObject, object, required, withDefault } from "../cni/json.ts";
import type { Ip, IpPrefix } from "../net/ip.ts";
import { bindingOf, bounded, openPort } from "./decode.ts";
import type { RunTask } from "./children.ts";
import type { Endpoint, Network, OpenPort } from "./model.ts";
import type { TakenPort } from "./ports.ts";
import { type Pool, poolOf, rawPool, rawTaken, type Taken, takenOf } from "./pools.ts";
import { readCreateEndpoint, readCreateNetwork } from "./requests.ts";
import type { Store } from "./store.ts";

/** What has to be known of the host, read at the moment. */
export interface HostView {
  /** The link of the default route. */
  uplink(this: void): string | undefined;
  /** Networks that the host has a route to. */
  routed(this: void): readonly IpPrefix[];
  /** Ports that programs of the host listen on. */
  listening(this: void): readonly TakenPort[];
}

export interface PluginSetup {
  readonly store: Store;
  readonly run: RunTask;
  readonly host: HostView;
  readonly log: (line: string) => void;
  /** Hears of every call that was served, and how it ended. */
  readonly tell: (call: ToldCall) => void;
}

/** A network as Docker sent it, with what was filled in, and as it was read. */
export interface KnownNetwork {
  readonly raw: JsonObject;
  readonly network: Network;
}
export interface KnownEndpoint {
  readonly raw: JsonObject;
  readonly endpoint: Endpoint;
  /** Ports of the host that lead to it. */
  readonly open: readonly OpenPort[];
  /** Docker has told that it is gone, and it could not be removed. */
  readonly ended: boolean;
}

export interface Book {
  readonly setup: PluginSetup;
  readonly networks: Map<string, KnownNetwork>;
  /** By `endpointKey`. */
  readonly endpoints: Map<string, KnownEndpoint>;
  readonly pools: Map<string, Pool>;
  /** By pool, and by the text of the address. */
  readonly taken: Map<string, Map<string, Taken>>;
  /** The address of a pool that was given last. */
  readonly last: Map<string, Ip>;
  /** What is being done, by the name of what it is about. */
  readonly turns: Map<string, Promise<unknown>>;
}

export const endpointKey = (networkId: string, endpointId: string): string => `${networkId}/${endpointId}`;

/** Opens the book with what is on disk. */
export function openBook(setup: PluginSetup): Book {
  const book: Book = {
    setup,
    networks: new Map(),
    endpoints: new Map(),
    pools: new Map(),
    taken: new Map(),
    last: new Map(),
    turns: new Map(),
  };
  const { store, log } = setup;
  const each = (shelf: "networks" | "endpoints" | "pools" | "addresses", take: (raw: JsonObject) => void) => {
    for (const raw of store.load(shelf, log)) {
      try {
        take(raw);
      } catch (e) {
        log(`left alone in ${shelf}, because it cannot be read: ${errorText(e)}`);
      }
    }
  };
  each("networks", (raw) => {
    const network = readCreateNetwork(raw, "");
    book.networks.set(network.id, { raw, network });
  });
  each("endpoints", (stored) => {
    const { raw, open, ended } = readEndpoint(stored, "");
    const endpoint = readCreateEndpoint(raw, "");
    book.endpoints.set(endpointKey(endpoint.networkId, endpoint.id), { raw, endpoint, open, ended });
  });
  each("pools", (raw) => {
    const pool = poolOf(raw, "");
    book.pools.set(pool.id, pool);
  });
  each("addresses", (raw) => addTaken(book, takenOf(raw, "")));
  const count = book.networks.size;
  if (count > 0) log(`goes on with ${count} networks and ${book.endpoints.size} endpoints`);
  return book;
}

const readEndpoint = object({
  raw: required(anyObject),
  open: required(bounded(openPort)),
  ended: withDefault(flag, false),
});

export function putNetwork({ setup, networks }: Book, known: KnownNetwork): void {
  setup.store.save("networks", known.network.id, known.raw);
  networks.set(known.network.id, known);
}

export function dropNetwork({ setup, networks }: Book, id: string): void {
  networks.delete(id);
  setup.store.remove("networks", id);
}

export function putEndpoint({ setup, endpoints }: Book, known: KnownEndpoint): void {
  const key = endpointKey(known.endpoint.networkId, known.endpoint.id);
  const { raw, open, ended } = known;
  setup.store.save("endpoints", key, { raw, open: open.map(bindingOf), ...(ended ? { ended } : {}) });
  endpoints.set(key, known);
}

export function dropEndpoint({ setup, endpoints }: Book, key: string): void {
  endpoints.delete(key);
  setup.store.remove("endpoints", key);
}

export const endpointsOf = ({ endpoints }: Book, networkId: string): readonly KnownEndpoint[] =>
  [...endpoints.values()].filter(({ endpoint }) => endpoint.networkId === networkId);

export function putPool({ setup, pools }: Book, pool: Pool): void {
  setup.store.save("pools", pool.id, rawPool(pool));
  pools.set(pool.id, pool);
}

/** The pool and every address of it. */
export function dropPool(book: Book, id: string): void {
  for (const taken of book.taken.get(id)?.values() ?? []) dropTaken(book, taken);
  book.taken.delete(id);
  book.last.delete(id);
  book.pools.delete(id);
  book.setup.store.remove("pools", id);
}

const takenKey = ({ poolId, ip }: Taken): string => `${poolId} ${ip.text}`;

function addTaken({ taken }: Book, one: Taken): void {
  const ofPool = taken.get(one.poolId) ?? new Map<string, Taken>();
  ofPool.set(one.ip.text, one);
  taken.set(one.poolId, ofPool);
}

export function putTaken(book: Book, one: Taken): void {
  book.setup.store.save("addresses", takenKey(one), rawTaken(one));
  addTaken(book, one);
}

export function dropTaken({ setup, taken }: Book, one: Taken): void {
  taken.get(one.poolId)?.delete(one.ip.text);
  setup.store.remove("addresses", takenKey(one));
}

/** Runs `work` when what was begun before about the same thing is done. */
export async function inTurn<T>({ turns }: Book, name: string, work: () => Promise<T>): Promise<T> {
  const before = turns.get(name) ?? Promise.resolve();
  const mine = before.then(work, work);
  const over = mine.then(
    () => {},
    () => {},
  );
  turns.set(name, over);
  try {
    return await mine;
  } finally {
    if (turns.get(name) === over) turns.delete(name);
  }
}
