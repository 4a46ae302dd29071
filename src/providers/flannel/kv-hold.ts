/**
 * Keeping a lease of a store: it is watched, looked at now and then, and renewed before its end. A key that is gone is
 * made again if nobody has the subnet; a key that somebody else wrote is his, and the lease is lost.
 */
import { NetError } from "../../errors.ts";
import type { FabricNode, Publics } from "../../fabric/model.ts";
import { newBell } from "../../fabric/store/bell.ts";
import type { Entry, Kv, Revision } from "../../fabric/store/kv.ts";
import { pause } from "../../fabric/store/pause.ts";
import { parseLeaseValue } from "./lease-codec.ts";
import type { Lease, LeaseNews } from "./registry.ts";

/** When the store ends a lease. */
export interface Term {
  /** Milliseconds since 1970; for people, since somebody may set that clock. */
  readonly expires: number;
  /** By the clock of `performance.now()`, in milliseconds. */
  readonly ends: number;
}

/** `asked`: when the store was asked, by `performance.now()`: it began to count later than that. */
export const termOf = (asked: number, seconds: number): Term => {
  const ends = asked + seconds * 1000;
  return { ends, expires: Math.round(Date.now() + ends - performance.now()) };
};

/** The clock of `performance.now()` stands still while a machine sleeps, and that of the store goes on. */
const SLEPT_MS = 60_000;

/** Whether the clock of the day has advanced that much more since the term was known: it was put on, or the machine slept. */
const hasSlept = ({ expires, ends }: Term): boolean =>
  Date.now() - performance.now() - (expires - ends) > SLEPT_MS;

/** What is known of a lease of this host; acquiring it anew and holding it both change it. */
export interface Held {
  readonly key: string;
  node: FabricNode;
  value: string;
  revision: Revision;
  /** The store's lease; undefined: the key is a reservation. */
  lease: string | undefined;
  term: Term | undefined;
  /** Every lease of the store that was made for this key and may have it: what is written with one of them is ours. */
  readonly leases: Set<string>;
  isReleased: boolean;
  /** Another is being taken in its place: resolves to whether it was. */
  givenUp: Promise<boolean> | undefined;
}

export interface HoldOptions {
  readonly kv: Kv;
  readonly signal: AbortSignal;
  readonly leaseSeconds: number;
  readonly renewMarginSeconds: number;
  readonly checkSeconds: number;
  /** Whether no other host has a part of the subnets. */
  readonly isFree: () => Promise<boolean>;
}

/** How long a watch of one key that failed is left alone, in milliseconds. */
const WATCH_PAUSE_MS = 5000;

export const leaseOf = ({ node, term }: Held): Lease => ({
  node,
  ...(term === undefined ? {} : { expires: term.expires }),
});

/** Ends with `lost`, with the signal, or when the lease is given back, or another has taken its place. */
export async function* holdLease(held: Held, options: HoldOptions): AsyncGenerator<LeaseNews> {
  const ending = new AbortController();
  const signal = AbortSignal.any([options.signal, ending.signal]);
  const bell = newBell(signal);
  const watching = ringOnChange(held, options.kv, signal, bell.ring);
  try {
    for (let failures = 0; ;) {
      // Given up for nothing, it is made again.
      if (held.givenUp !== undefined && (await held.givenUp)) return;
      if (signal.aborted || held.isReleased) return;
      const rung = bell.next();
      const news = await look(held, options, failures);
      if (!isWanted(held, options)) continue;
      failures = news?.kind === "failing" ? failures + 1 : 0;
      if (news !== undefined) yield news;
      if (news?.kind === "lost") return;
      await rung(news?.kind === "failing" ? news.retryInSeconds * 1000 : untilNextLook(held, options));
    }
  } finally {
    ending.abort();
    await watching;
  }
}

/** Asked before each write: who acquires or releases meanwhile does not wait for it. */
const isWanted = (held: Held, { signal }: HoldOptions): boolean => !signal.aborted && isKept(held);

const isKept = ({ isReleased, givenUp }: Held): boolean => !isReleased && givenUp === undefined;

/** What there is to tell, if anything: success is told when something was done, and after failures. */
async function look(held: Held, options: HoldOptions, failures: number): Promise<LeaseNews | undefined> {
  try {
    const news = await check(held, options);
    return news ?? (failures === 0 ? undefined : { kind: "renewed", lease: leaseOf(held) });
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    const retryInSeconds = Math.min(2 ** failures, options.checkSeconds);
    return { kind: "failing", why: e.message, retryInSeconds };
  }
}

async function check(held: Held, options: HoldOptions): Promise<LeaseNews | undefined> {
  const entry = await options.kv.get(held.key);
  if (!isWanted(held, options)) return undefined;
  if (entry === undefined) return make(held, options);
  if (!isOurs(held, entry)) return { kind: "lost", why: `${held.node.id} is now ${ownerOf(held, entry)}` };
  held.revision = entry.revision;
  const isUnsure = entry.lease !== held.lease || (held.term !== undefined && hasSlept(held.term));
  if (entry.lease !== undefined && isUnsure) await adopt(held, entry.lease, options);
  if (held.lease === undefined || untilRenewal(held, options) > 0) return undefined;
  const asked = performance.now();
  const seconds = await options.kv.refresh(held.lease);
  if (seconds === undefined) return write(held, options, { revision: held.revision });
  held.term = termOf(asked, seconds);
  return { kind: "renewed", lease: leaseOf(held) };
}

/** Goes on with a lease of ours as the store has it: by which the key was written without our hearing so, or whose end is unsure. */
async function adopt(held: Held, lease: string, { kv }: HoldOptions): Promise<void> {
  const asked = performance.now();
  const seconds = await kv.timeToLive(lease);
  held.lease = lease;
  held.term = termOf(asked, seconds ?? 0);
}

/** A reservation has no lease by which it could be told from another's writing of the same. */
export const isOurs = (held: Held, { lease, value, revision }: Entry): boolean =>
  revision === held.revision || (lease === undefined ? value === held.value : held.leases.has(lease));

function ownerOf({ node }: Held, { value }: Entry): string {
  const told = parseLeaseValue(value);
  if (!told.ok) return "somebody else's";
  const address = addressOf(told.value.publics);
  return address === addressOf(node.publics) ? `held by ${twinOf(address)}` : `held by ${address}`;
}

const addressOf = ({ v4, v6 }: Publics): string => (v4 ?? v6)?.text ?? "nobody";

/** Who has taken what this process held, and says that he is this host. */
export const twinOf = (address: string): string =>
  `somebody else with this host's address, ${address}: another host has it too, or another daemon runs on this one`;

/** The key is gone: the lease ended while the store or this host was away, or somebody took it back. */
async function make(held: Held, options: HoldOptions): Promise<LeaseNews | undefined> {
  if (await options.isFree()) return write(held, options, { absent: true });
  return { kind: "lost", why: `the lease of ${held.node.id} ended, and another host has taken the subnet` };
}

type When = { readonly absent: true } | { readonly revision: Revision };

async function write(held: Held, options: HoldOptions, when: When): Promise<LeaseNews | undefined> {
  if (!isWanted(held, options)) return undefined;
  const mayPut = (): boolean => isWanted(held, options);
  const written = await writeLeased(held, { ...options, mayPut }, when);
  if (written === undefined) return check(held, options);
  Object.assign(held, written);
  if (!isKept(held)) await giveBack(held, options.kv);
  return { kind: "renewed", lease: leaseOf(held) };
}

/** Takes the key out of the store, and ends its lease; another's key stays. */
export async function giveBack({ key, revision, lease }: Held, kv: Kv): Promise<void> {
  await kv.delete(key, { revision });
  if (lease !== undefined) await kv.revokeUnused(lease);
}

/** A key and what it is to be. */
type Writing = Pick<Held, "key" | "value" | "leases">;

interface WriteOptions extends Pick<HoldOptions, "kv" | "leaseSeconds"> {
  /** Asked once more when there is a lease for it. */
  readonly mayPut?: () => boolean;
}

/**
 * Writes a key with a new lease of the store, and ends those that it had before. Undefined if the key is not as expected, or
 * not wanted any longer.
 */
export async function writeLeased(
  { key, value, leases }: Writing,
  { kv, leaseSeconds, mayPut = () => true }: WriteOptions,
  when: When,
): Promise<{ readonly revision: Revision; readonly lease: string; readonly term: Term } | undefined> {
  const asked = performance.now();
  const lease = await kv.grant(leaseSeconds);
  const earlier = [...leases];
  leases.add(lease);
  const revision = mayPut() ? await kv.put(key, value, { lease, when }) : undefined;
  if (revision === undefined) {
    await endUnused(kv, leases, [lease]);
    return undefined;
  }
  // Not before the key has another one: it would go with it.
  await endUnused(kv, leases, earlier);
  return { revision, lease, term: termOf(asked, leaseSeconds) };
}

/** What cannot be ended now is tried again at the next write, and ends by itself in the end. */
async function endUnused(kv: Kv, leases: Set<string>, some: readonly string[]): Promise<void> {
  for (const lease of some)
    try {
      if (await kv.revokeUnused(lease)) leases.delete(lease);
    } catch (e) {
      if (!(e instanceof NetError)) throw e;
    }
}

const untilRenewal = ({ term }: Held, { renewMarginSeconds }: HoldOptions): number =>
  (term?.ends ?? Infinity) - renewMarginSeconds * 1000 - performance.now();

/** In milliseconds; not the same for all hosts that started together. */
const untilNextLook = (held: Held, options: HoldOptions): number =>
  Math.max(
    100,
    Math.min(options.checkSeconds * 1000 * (0.8 + 0.4 * Math.random()), untilRenewal(held, options)),
  );

/** Watches the key until the signal. Its changes ring alone; what they are is looked at by who is rung. */
async function ringOnChange(held: Held, kv: Kv, signal: AbortSignal, ring: () => void): Promise<void> {
  while (!signal.aborted) {
    try {
      const { revision } = await kv.list(held.key);
      ring();
      for await (const _changes of kv.watch(held.key, { after: revision, signal })) ring();
    } catch (e) {
      if (!(e instanceof NetError)) throw e;
      await pause(WATCH_PAUSE_MS, signal).catch(() => undefined);
    }
  }
}
