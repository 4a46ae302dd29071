/** Keeping leases alive: what is due is done, each lease by itself, and a lease that is over loses its address. */
import { type Book, courseFor, describe, drop, type Entry, heldTask, put, whyOf } from "./book.ts";
import { stamp } from "./clock.ts";
import { dueAt, nextDue } from "./course.ts";
import { lasts } from "./obtain.ts";
import { isThere } from "./place.ts";

/** A clock may jump while the machine sleeps: it is looked at this often. */
const LOOK_MS = 30_000;
/** What failed here is tried again after this time. */
const AGAIN_MS = 60_000;

/** Begins what is due, and returns in how many milliseconds something is due next. */
export function tick(book: Book): number {
  let nextMs = LOOK_MS;
  const nowMs = book.setup.clock.now();
  for (const [id, entry] of book.entries) {
    if (book.ended || entry.leaving === true || book.working.has(id) || entry.lease.over !== undefined)
      continue;
    const inMs = Math.max(nextDue(courseFor(book, entry)).atMs, entry.notBeforeMs ?? 0) - nowMs;
    if (inMs <= 0) start(book, id);
    else nextMs = Math.min(nextMs, inMs);
  }
  return nextMs;
}

function start(book: Book, id: string): void {
  const abort = new AbortController();
  const done = keep(book, id, abort.signal)
    .catch((e: unknown) => {
      if (abort.signal.aborted) return;
      book.setup.log(`lease ${id}: ${e instanceof Error ? e.message : String(e)}`);
      postpone(book, id);
    })
    .finally(() => {
      book.working.delete(id);
      book.changed();
    });
  book.working.set(id, { what: "upkeep", abort, done });
}

function postpone({ entries, setup }: Book, id: string): void {
  const entry = entries.get(id);
  if (entry) entries.set(id, { ...entry, notBeforeMs: setup.clock.now() + AGAIN_MS });
}

/** Renews, rebinds or ends one lease. */
async function keep(book: Book, id: string, signal: AbortSignal): Promise<void> {
  const { clock, run, log } = book.setup;
  const entry = book.entries.get(id);
  const due = entry && dueAt(courseFor(book, entry), clock.now());
  if (entry === undefined || due === undefined) return;
  if (!isThere(entry.lease.netns)) return drop(book, entry, "over, because its network namespace is gone");
  if (due === "end") return end(book, id, entry, "nobody renewed it", signal);
  const answer = await run(() => {
    // It may have waited for its turn until all servers are to be asked.
    const now = dueAt(courseFor(book, entry), clock.now());
    return heldTask(entry, now === "renew" ? "renew" : "rebind");
  }, signal);
  // It was given back meanwhile, or is another one by now.
  if (book.entries.get(id) !== entry) return;
  switch (answer.kind) {
    case "bound": {
      const lease = { ...entry.lease, terms: answer.terms, granted: stamp(clock, answer.ageMs) };
      put(book, lease);
      return log(`${describe(lease)} renewed ${lasts(lease.terms.leaseSeconds)}`);
    }
    case "refused":
      return end(book, id, entry, `the server refuses it (${answer.why})`, signal);
    case "gone":
      return drop(book, entry, `over: ${answer.why}`);
    case "silent":
    case "failed":
    case "done":
      log(`${describe(entry.lease)}: not renewed: ${whyOf(answer)}`);
      book.entries.set(id, { ...entry, triedMs: clock.now() });
  }
}

/** The address may not be used any more. The lease stays in the book, so that CHECK can tell. */
async function end(book: Book, id: string, entry: Entry, why: string, signal: AbortSignal): Promise<void> {
  const { run, log } = book.setup;
  const { lease } = entry;
  const answer = await run(() => heldTask(entry, "withdraw"), signal);
  if (book.entries.get(id) !== entry) return;
  if (answer.kind === "gone") return drop(book, entry, `over: ${answer.why}`);
  if (answer.kind === "done") {
    put(book, { ...lease, over: why });
    return log(`${describe(lease)}: over, ${why}; the address was removed from ${lease.key.ifname}`);
  }
  log(`${describe(lease)}: over, but the address could not be removed: ${whyOf(answer)}`);
  postpone(book, id);
}
