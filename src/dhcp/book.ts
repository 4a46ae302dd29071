/**
 * The daemon's book of leases: in memory and on disk the same, and what is being done about each. It decides nothing.
 */
import type { RunTask } from "./children.ts";
import { type Clock, onClock } from "./clock.ts";
import { type Course, courseOf } from "./course.ts";
import type { LeaseKey } from "./model.ts";
import { type Lease, leaseId, type Store } from "./store.ts";
import type { Answer, HeldTask } from "./task.ts";
import type { AcquireTimes } from "./v4-acquire.ts";

export interface DaemonSetup {
  readonly store: Store;
  readonly run: RunTask;
  readonly clock: Clock;
  readonly times: AcquireTimes;
  /** Before the paths of namespaces: where the host's root is seen from here. */
  readonly hostPrefix: string;
  /** Ask servers to answer to all, not to the address that they give. */
  readonly broadcast: boolean;
  readonly log: (line: string) => void;
}

/** A lease, and what was tried about it. */
export interface Entry {
  readonly lease: Lease;
  /** When a server was last asked in vain. */
  readonly triedMs?: number;
  /** After a failure of this host's, not the server's. */
  readonly notBeforeMs?: number;
  /** It is being given back: nobody keeps it alive any more. */
  readonly leaving?: true;
}

/** Something that is being done, and how to end it. */
export interface Work {
  readonly what: "add" | "del" | "upkeep";
  readonly abort: AbortController;
  /** Never rejects. */
  readonly done: Promise<unknown>;
}

export interface Book {
  readonly setup: DaemonSetup;
  readonly entries: Map<string, Entry>;
  /** Upkeep of a lease, by its id. */
  readonly working: Map<string, Work>;
  /** ADD and DEL of an attachment, by its name: they follow one another. */
  readonly asked: Map<string, Work>;
  /** True once the daemon ends: nothing new is begun. */
  ended: boolean;
  /** Called when something may be due earlier than it was. */
  changed: () => void;
}

/** Opens the book with the leases that are on disk. */
export function openBook(setup: DaemonSetup): Book {
  const leases = setup.store.load(setup.log);
  if (leases.length > 0) setup.log(`goes on with ${leases.length} leases`);
  return {
    setup,
    entries: new Map(leases.map((lease) => [idOf(lease), { lease }])),
    working: new Map(),
    asked: new Map(),
    ended: false,
    changed: () => {},
  };
}

/** Writes a new or changed lease. */
export function put(book: Book, lease: Lease): void {
  book.setup.store.save(lease);
  book.entries.set(idOf(lease), { lease });
  book.changed();
}

/** Forgets a lease; `why` goes into the log. */
export function drop({ setup, entries }: Book, { lease }: Entry, why: string): void {
  entries.delete(idOf(lease));
  setup.store.remove(lease.key, lease.terms.family);
  setup.log(`${describe(lease)}: ${why}`);
}

/** The leases of an attachment. */
export const leasesOf = ({ entries }: Book, key: LeaseKey): readonly Entry[] =>
  ([4, 6] as const).flatMap((family) => entries.get(leaseId(key, family)) ?? []);

export function courseFor({ setup: { clock } }: Book, { lease, triedMs }: Entry): Course {
  const course = courseOf(lease.terms, onClock(clock, lease.granted));
  return triedMs === undefined ? course : { ...course, triedMs };
}

/** Ends what is being done about a lease and waits for it. */
export async function interrupt({ working }: Book, lease: Lease): Promise<void> {
  const work = working.get(idOf(lease));
  work?.abort.abort(new Error("interrupted"));
  await work?.done;
}

export const heldTask = ({ lease }: Entry, kind: HeldTask["kind"]): HeldTask => ({
  kind,
  netns: lease.netns,
  ifname: lease.key.ifname,
  client: lease.client,
  terms: lease.terms,
  link: lease.link,
});

export const idOf = ({ key, terms }: Lease): string => leaseId(key, terms.family);
export const nameOf = (k: LeaseKey): string => `${k.network}/${k.containerId}/${k.ifname}`;
export const describe = ({ key, terms }: Lease): string =>
  `${nameOf(key)}: ${terms.address} from ${terms.family === 4 ? terms.server : "a DHCPv6 server"}`;
export const whyOf = (answer: Answer): string => ("why" in answer ? answer.why : answer.kind);
