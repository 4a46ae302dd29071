/**
 * Chooses addresses: one from each range set, a requested one if there is one for the set, else the next free one after
 * the last. All or nothing. It knows ranges and the store, not configurations.
 */
import type { AttachmentKey } from "../../../cni/plugin.ts";
import type { ResultIp } from "../../../cni/result.ts";
import { invalid } from "../../../cni/json.ts";
import { NetError } from "../../../errors.ts";
import { type Ip, parseIp, prefix } from "../../../net/ip.ts";
import {
  capacity,
  type Candidate,
  candidates,
  isGateway,
  rangeOf,
  type RangeSet,
  setText,
} from "./ranges.ts";
import {
  addressesOf,
  isEmpty,
  isReserved,
  lastReserved,
  namesIn,
  ownerOf,
  type Place,
  release,
  reserve,
  setLastReserved,
  type Store,
  undo,
} from "./store.ts";

/** Addresses tried one by one before the whole directory is listed. */
const SINGLE_TRIES = 16;

/** What an attachment gets from one set: this address, or any. */
export interface Wish {
  readonly set: RangeSet;
  readonly ip?: Ip;
}

/** Gives each set the first requested address that lies in it. An address that no set takes is an error. */
export function wishes(sets: readonly RangeSet[], requested: readonly Ip[]): Wish[] {
  const open = new Map(requested.map((ip) => [ip.text, ip]));
  const result = sets.map((set): Wish => {
    const ip = [...open.values()].find((r) => rangeOf(set, r));
    if (!ip) return { set };
    if (isGateway(set, ip)) invalid("ips", `requested address ${ip.text} is a gateway of ${setText(set)}`);
    open.delete(ip.text);
    return { set, ip };
  });
  if (open.size > 0) {
    const why = "is in no range set, or in one that gives another requested address";
    invalid("ips", `requested address ${[...open.keys()].join(", ")} ${why}`);
  }
  return result;
}

/**
 * Reserves one address a set. Fails with `ipam/taken` if the attachment has one already or the requested one is
 * another's, with `ipam/exhausted` if none is free; then nothing stays reserved.
 */
export function allocate(store: Store, wanted: readonly Wish[], key: AttachmentKey): ResultIp[] {
  const owned = addressesOf(store, key);
  for (const { set } of wanted) {
    const mine = owned.find((ip) => rangeOf(set, ip));
    if (mine) throw taken(mine, `${key.containerId} ${key.ifname} (one address a range set)`);
  }
  try {
    return wanted.map((wish, n) => {
      const { ip, range } = wish.ip
        ? reserveOne(store, wish.set, wish.ip, key)
        : reserveNext(store, wish.set, n, key);
      setLastReserved(store, n, ip);
      return { address: prefix(ip, range.subnet.bits), gateway: range.gateway };
    });
  } catch (e) {
    undo(store);
    throw e;
  }
}

const taken = (ip: Ip, owner: string): NetError => new NetError("ipam/taken", { address: ip.text, owner });

function reserveOne(store: Store, set: RangeSet, ip: Ip, key: AttachmentKey): Candidate {
  const range = rangeOf(set, ip);
  if (!range) throw new RangeError(`${ip.text} is not in ${setText(set)}`);
  if (isEmpty(store.place, ip.text)) release(store, ip.text, "");
  if (!reserve(store, ip, key)) {
    const owner = ownerOf(store.place, ip) ?? "";
    throw taken(ip, owner.replace(/\s+/g, " ") || "somebody unknown");
  }
  return { ip, range };
}

function reserveNext(store: Store, set: RangeSet, n: number, key: AttachmentKey): Candidate {
  const { place } = store;
  let names: ReadonlySet<string> | undefined;
  let tries = 0;
  for (const candidate of candidates(set, lastReserved(place, n))) {
    if (!names && ++tries > SINGLE_TRIES) names = namesIn(place);
    const busy = names ? names.has(candidate.ip.text) : isReserved(place, candidate.ip);
    if (!busy && reserve(store, candidate.ip, key)) return candidate;
  }
  const empty = emptyIn(place, set, names ?? namesIn(place)).next().value;
  if (!empty) throw new NetError("ipam/exhausted", { pool: setText(set) });
  return reserveOne(store, set, empty, key);
}

/** The addresses of a set whose files are empty: they name no owner, and serve when nothing else is left. */
function* emptyIn(place: Place, set: RangeSet, names: ReadonlySet<string>): Generator<Ip, undefined> {
  for (const { ip } of usedIn(set, names)) if (isEmpty(place, ip.text)) yield ip;
  return undefined;
}

/** The addresses of a set that have a file among these names; those of gateways are not counted. */
export function* usedIn(set: RangeSet, names: ReadonlySet<string>): Generator<Candidate> {
  for (const name of names) {
    const ip = addressIn(name);
    const range = ip && rangeOf(set, ip);
    if (ip && range && !isGateway(set, ip)) yield { ip, range };
  }
}

const addressIn = (name: string): Ip | undefined => {
  const ip = parseIp(name);
  return ip.ok ? ip.value : undefined;
};

/** The sets that have no address left. Counts the files; never walks a range. */
export function exhausted(place: Place, sets: readonly RangeSet[]): RangeSet[] {
  const names = namesIn(place);
  return sets.filter((set) => {
    const used = [...usedIn(set, names)];
    return BigInt(used.length) >= capacity(set) && !used.some(({ ip }) => isEmpty(place, ip.text));
  });
}
