/**
 * One kind of objects of which there are many: what is wanted, what the kernel has as far as it is known, and which of them
 * have to be looked at. It decides; what is sent and what became of it is the reconciler's.
 */
import type { Message, Request } from "../../netlink/message.ts";
import type { NetError } from "../../errors.ts";
import { delta } from "./delta.ts";
import type { KnownLinks, Place } from "./place.ts";

/** How one kind is named, listed and asked for. `W`: as it is wanted; `F`: as the kernel has it. */
export interface TableKind<W extends object, F> {
  readonly object: "neighbour" | "forwarding" | "peer" | "route";
  /** Unique within the kind. */
  readonly keyOf: (wanted: W) => string;
  /** What it should be in the kernel; undefined while its link is not there. */
  readonly build: (wanted: W, links: KnownLinks) => F | undefined;
  /** Everything of this kind that may be ours or in the place of ours. */
  readonly list: (place: Place, links: KnownLinks) => readonly F[];
  /** What an event of the kernel is about; undefined if it is of no concern. */
  readonly read: (
    message: Message,
    links: KnownLinks,
  ) => { readonly found: F; readonly gone: boolean } | undefined;
  readonly keyOfFound: (found: F, links: KnownLinks) => string;
  /** `last`: what was wanted when it was last as it should be, if it ever was. */
  readonly fits: (built: F, found: F, links: KnownLinks, last: F | undefined) => boolean;
  /** Whether what goes, by an event, is what is known to be there, and not what was there before it. */
  readonly isSame: (gone: F, there: F) => boolean;
  readonly isOurs: (found: F, links: KnownLinks) => boolean;
  /** The request that puts it there, `instead` of what is in its place; or why it must not be. `last` is as of `fits`. */
  readonly put: (built: F, instead: F | undefined, last: F | undefined) => Request | NetError;
  readonly remove: (found: F) => Request;
  /** What the kernel says if there is nothing to remove. */
  readonly goneErrors: readonly string[];
}

export interface Put<F> {
  readonly key: string;
  readonly built: F;
  readonly action: "added" | "replaced" | "repaired";
  readonly request: Request | NetError;
}
export interface Removal<F> {
  readonly key: string;
  readonly found: F;
  readonly request: Request;
}

export interface Plan<F> {
  readonly puts: readonly Put<F>[];
  readonly removals: readonly Removal<F>[];
  /** Names of those that have to wait. */
  readonly waiting: number;
}

interface Entry<W, F> {
  wanted: W;
  /** It was as it should be when it was last looked at. */
  settled: boolean;
  /** What was wanted when it was last as it should be. */
  last: F | undefined;
}

/** A table with its kind and types inside: what the reconciler goes through in order. */
export interface Table<W extends object = object> {
  readonly object: TableKind<W, unknown>["object"];
  /** Takes over a new list of what is wanted. `changed` hears the keys that are new or gone. Returns what is new. */
  want(before: readonly W[], after: readonly W[], changed: (key: string) => void): readonly W[];
  wants(key: string): boolean;
  /** Asks the kernel for everything. */
  relist(place: Place, links: KnownLinks): void;
  /** Takes note of an event; true if something has to be done. */
  touch(message: Message, links: KnownLinks): boolean;
  /** What to do about what has to be looked at. `may`: whether it may be tried now. */
  plan(links: KnownLinks, may: (key: string) => boolean): Plan<unknown>;
  /** It is done. */
  put(key: string, built: unknown): void;
  removed(key: string): void;
  isGone(error: NetError<"netlink/refused">): boolean;
}

interface Memory<W extends object, F> {
  readonly kind: TableKind<W, F>;
  readonly entries: Map<string, Entry<W, F>>;
  kernel: Map<string, F>;
  /** Keys of what is or may be different. */
  readonly dirty: Set<string>;
}

/** True if there is something to do about the key. */
function differs<W extends object, F>(
  { kind, entries, kernel }: Memory<W, F>,
  key: string,
  links: KnownLinks,
): boolean {
  const entry = entries.get(key);
  const found = kernel.get(key);
  if (entry === undefined) return found !== undefined && kind.isOurs(found, links);
  const built = found === undefined ? undefined : kind.build(entry.wanted, links);
  if (found === undefined || built === undefined || !kind.fits(built, found, links, entry.last)) return true;
  entry.settled = true;
  entry.last = built;
  return false;
}

function wantOther<W extends object, F>(
  { kind, entries, dirty }: Memory<W, F>,
  before: readonly W[],
  after: readonly W[],
  changed: (key: string) => void,
): readonly W[] {
  const { removed, added } = delta(before, after);
  const gone = new Map<string, Entry<W, F>>();
  for (const wanted of removed) {
    const key = kind.keyOf(wanted);
    const entry = entries.get(key);
    if (entry?.wanted !== wanted) continue;
    gone.set(key, entry);
    entries.delete(key);
  }
  for (const wanted of added) {
    const key = kind.keyOf(wanted);
    const entry = gone.get(key);
    const same = entry !== undefined && Bun.deepEquals(entry.wanted, wanted);
    entries.set(key, { wanted, settled: same && entry.settled, last: entry?.last });
    if (same) gone.delete(key);
    else {
      dirty.add(key);
      changed(key);
    }
  }
  for (const key of gone.keys()) {
    dirty.add(key);
    changed(key);
  }
  return added;
}

function planOf<W extends object, F>(
  memory: Memory<W, F>,
  links: KnownLinks,
  may: (key: string) => boolean,
): Plan<F> {
  const { kind, entries, kernel, dirty } = memory;
  const puts: Put<F>[] = [];
  const removals: Removal<F>[] = [];
  let waiting = 0;
  for (const key of dirty) {
    const entry = entries.get(key);
    const found = kernel.get(key);
    // What is not there need not be compared.
    if ((entry === undefined || found !== undefined) && !differs(memory, key, links)) {
      dirty.delete(key);
      continue;
    }
    const built = entry && kind.build(entry.wanted, links);
    if (!may(key) || (entry !== undefined && built === undefined)) waiting++;
    else if (built === undefined) {
      if (found !== undefined) removals.push({ key, found, request: kind.remove(found) });
    } else {
      const action = entry?.settled === true ? "repaired" : found === undefined ? "added" : "replaced";
      puts.push({ key, built, action, request: kind.put(built, found, entry?.last) });
    }
  }
  return { puts, removals, waiting };
}

/** Takes note of an event; true if something has to be done. */
function hear<W extends object, F>(memory: Memory<W, F>, message: Message, links: KnownLinks): boolean {
  const { kind, kernel, dirty } = memory;
  const event = kind.read(message, links);
  if (event === undefined) return false;
  const key = kind.keyOfFound(event.found, links);
  if (!event.gone) kernel.set(key, event.found);
  else {
    // What goes may not be what is there now: another one took its place before.
    const there = kernel.get(key);
    if (there === undefined || !kind.isSame(event.found, there)) return false;
    kernel.delete(key);
  }
  if (differs(memory, key, links)) {
    dirty.add(key);
    return true;
  }
  dirty.delete(key);
  return false;
}

export function makeTable<W extends object, F>(kind: TableKind<W, F>): Table<W> {
  const memory: Memory<W, F> = { kind, entries: new Map(), kernel: new Map(), dirty: new Set() };
  const { entries, dirty } = memory;
  return {
    object: kind.object,
    want: (before, after, changed) => wantOther(memory, before, after, changed),
    wants: (key) => entries.has(key),
    relist(place, links) {
      const found = kind.list(place, links);
      memory.kernel = new Map(found.map((one) => [kind.keyOfFound(one, links), one]));
      dirty.clear();
      for (const key of entries.keys()) if (differs(memory, key, links)) dirty.add(key);
      for (const key of memory.kernel.keys())
        if (!entries.has(key) && differs(memory, key, links)) dirty.add(key);
    },
    touch: (message, links) => hear(memory, message, links),
    plan: (links, may) => planOf(memory, links, may),
    put(key, built) {
      memory.kernel.set(key, built as F);
      dirty.delete(key);
      const entry = entries.get(key);
      if (entry === undefined) return;
      entry.settled = true;
      entry.last = built as F;
    },
    removed(key) {
      memory.kernel.delete(key);
      dirty.delete(key);
    },
    isGone: (error) => kind.goneErrors.includes(error.detail.errno),
  };
}
