/** What plugins ask of the daemon: getting leases (ADD), giving them back (DEL), giving back what is stale (GC). */
import { NetError } from "../errors.ts";
import {
  type Book,
  describe,
  drop,
  type Entry,
  heldTask,
  idOf,
  interrupt,
  leasesOf,
  nameOf,
  put,
  whyOf,
  type Work,
} from "./book.ts";
import { stamp } from "./clock.ts";
import { type Client, familyName, FOREVER, type LeaseKey, type NetnsRef } from "./model.ts";
import { isThere } from "./place.ts";
import { type LeaseView, remoteError, type Request } from "./protocol.ts";
import type { Lease } from "./store.ts";
import type { Answer } from "./task.ts";

/** One after the other for one attachment. */
async function inTurn<T>(
  { asked, ended }: Book,
  what: Work["what"],
  key: LeaseKey,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (ended) throw new NetError("try-again", { why: "the DHCP daemon is ending" });
  const name = nameOf(key);
  const abort = new AbortController();
  const before = asked.get(name);
  const result = (async () => {
    await before?.done;
    return work(abort.signal);
  })();
  const mine: Work = { what, abort, done: result.catch(() => {}) };
  asked.set(name, mine);
  try {
    return await result;
  } finally {
    if (asked.get(name) === mine) asked.delete(name);
  }
}

/**
 * Leases of all families, or none. `gone`: nobody waits for them any more.
 * @throws ipam/taken if the interface has leases, try-again if no server gives one, netns/invalid
 */
export function acquire(
  book: Book,
  request: Request & { readonly op: "acquire" },
  gone: AbortSignal,
): Promise<readonly LeaseView[]> {
  const { clock, times, hostPrefix, broadcast } = book.setup;
  const { key, families } = request;
  const untilMs = clock.now() + times.totalMs;
  const common = {
    key,
    netns: { ...request.netns, path: hostPrefix + request.netns.path },
    client: { ...request.client, broadcast: request.client.broadcast || broadcast },
    untilMs,
  };
  return inTurn(book, "add", key, async (ended) => {
    const old = leasesOf(book, key);
    for (const entry of old) await makeRoom(book, entry, AbortSignal.any([gone, ended]));
    // The first that fails ends the others; all are over before anything is given back.
    const one = new AbortController();
    const signal = AbortSignal.any([gone, ended, one.signal]);
    const all = await Promise.allSettled(
      families.map(async (family) => {
        const wanted = old.find((e) => e.lease.terms.family === family)?.lease.terms.address;
        await acquireOne(book, { ...common, family, wanted }, signal).catch((e: unknown) => {
          one.abort(e);
          throw e;
        });
      }),
    );
    if (all.every((r) => r.status === "fulfilled")) return leasesOf(book, key).map(viewOf);
    await Promise.all(leasesOf(book, key).map(async (e) => giveBack(book, e)));
    throw one.signal.reason as Error;
  });
}

/** A lease of this attachment that is there: of an interface that lives, or what a dead one has left. */
async function makeRoom(book: Book, entry: Entry, signal: AbortSignal): Promise<void> {
  const { key, terms } = entry.lease;
  const probed = await book.setup.run(() => heldTask(entry, "probe"), signal);
  if (probed.kind === "done")
    throw new NetError("ipam/taken", { address: terms.address, owner: nameOf(key) });
  await interrupt(book, entry.lease);
  drop(book, entry, "its interface is gone; it is asked for anew");
}

interface Wish {
  readonly key: LeaseKey;
  readonly netns: NetnsRef;
  readonly client: Client;
  readonly family: 4 | 6;
  readonly untilMs: number;
  readonly wanted: string | undefined;
}

async function acquireOne(book: Book, wish: Wish, signal: AbortSignal): Promise<void> {
  const { run, clock, times, log } = book.setup;
  const { key, netns, client, family, wanted } = wish;
  const answer = await run(
    () => ({
      kind: "acquire",
      netns,
      ifname: key.ifname,
      client,
      family,
      // Waiting for a child's turn counts too.
      times: { ...times, totalMs: Math.max(1, Math.round(wish.untilMs - clock.now())) },
      ...(wanted === undefined ? {} : { wanted }),
    }),
    signal,
  );
  if (answer.kind !== "bound") throw refusalOf(answer, netns, `${familyName[family]} on ${key.ifname}`);
  const { terms, link, ageMs } = answer;
  const lease: Lease = { key, netns, link, client, terms, granted: stamp(clock, ageMs) };
  put(book, lease);
  log(`${describe(lease)} ${lasts(terms.leaseSeconds)}`);
  for (const why of answer.ignored) log(`${nameOf(key)}: left out: ${why}`);
}

/** What ADD is told when there is no lease. */
function refusalOf(answer: Answer, netns: NetnsRef, what: string): NetError {
  if (answer.kind === "gone") return new NetError("netns/invalid", { path: netns.path, why: answer.why });
  if (answer.kind === "failed" && answer.code !== undefined)
    return remoteError(answer.code, answer.detail, answer.why);
  return new NetError("try-again", { why: `no lease for ${what}: ${whyOf(answer)}` });
}

/** Tells the server, if it still can be told, and forgets the lease. */
async function giveBack(book: Book, entry: Entry): Promise<void> {
  const { lease } = entry;
  // From here on nothing is begun about it, however long its turn takes to come.
  book.entries.set(idOf(lease), { ...entry, leaving: true });
  await interrupt(book, lease);
  // It may have ended while it was waited for.
  const now = book.entries.get(idOf(lease));
  if (now === undefined) return;
  if (now.lease.over !== undefined) return drop(book, now, "forgotten; it was over");
  if (!isThere(lease.netns))
    return drop(
      book,
      now,
      "not released, since its network namespace is gone; the server keeps it until it ends",
    );
  const answer = await book.setup.run(() => heldTask(now, "release"), new AbortController().signal);
  drop(book, now, answer.kind === "done" ? "released" : `not released: ${whyOf(answer)}`);
}

/** Gives back what the attachment has; nothing is no matter. */
export async function release(book: Book, key: LeaseKey): Promise<void> {
  const before = book.asked.get(nameOf(key));
  // An ADD that is still at it gives back what it got.
  if (before?.what === "add")
    before.abort.abort(new NetError("try-again", { why: "DEL came before ADD was done" }));
  await inTurn(book, "del", key, async () => {
    await Promise.all(leasesOf(book, key).map(async (e) => giveBack(book, e)));
  });
}

/** Gives back what the network's other attachments have. */
export async function retain(book: Book, request: Request & { readonly op: "retain" }): Promise<void> {
  const { network, valid } = request;
  const keep = new Set(valid.map((v) => nameOf({ network, ...v })));
  const stale = new Map<string, LeaseKey>();
  for (const { lease } of book.entries.values())
    if (lease.key.network === network && !keep.has(nameOf(lease.key)))
      stale.set(nameOf(lease.key), lease.key);
  await Promise.all([...stale.values()].map(async (key) => release(book, key)));
}

export const viewOf = ({ lease: { terms, over } }: Entry): LeaseView => ({
  terms,
  ...(over === undefined ? {} : { over }),
});

export const lasts = (seconds: number): string => (seconds === FOREVER ? "without end" : `for ${seconds} s`);
