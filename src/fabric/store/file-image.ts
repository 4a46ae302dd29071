/**
 * What a file store holds, in memory: keys, leases, and the latest changes. It is made from a head and the steps after it,
 * each of which happens as a whole. Knows nothing of files.
 */
import type { Change, Entry, Revision } from "./kv.ts";

/** A lease as it is written down. */
export interface LeaseState {
  readonly seconds: number;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

/** What happens at once. Steps that change leases alone keep the revision. */
export interface Step {
  readonly revision: Revision;
  readonly put?: readonly { readonly key: string; readonly value: string; readonly lease?: string }[];
  readonly delete?: readonly string[];
  /** By id; `null` where the lease is gone. */
  readonly leases?: Readonly<Record<string, LeaseState | null>>;
}

/** Everything at one revision, and the changes after `floor` that led to it. */
export interface Head {
  readonly format: 1;
  /** Drawn by chance when the store was made: one that was made anew is another store. */
  readonly id: string;
  readonly revision: Revision;
  readonly floor: Revision;
  readonly entries: readonly Entry[];
  readonly leases: Readonly<Record<string, LeaseState>>;
  readonly history: readonly Step[];
}

export class Image {
  readonly id: string;
  revision: Revision;
  /** Changes up to this revision are no longer known. */
  floor: Revision;
  readonly entries: Map<string, Entry>;
  readonly leases: Map<string, LeaseState>;
  readonly history: Step[];

  constructor(head: Head) {
    this.id = head.id;
    this.revision = head.revision;
    this.floor = head.floor;
    this.entries = new Map(head.entries.map((entry) => [entry.key, entry]));
    this.leases = new Map(Object.entries(head.leases));
    this.history = [...head.history];
  }

  apply(step: Step): void {
    this.revision = step.revision;
    for (const one of step.put ?? []) this.entries.set(one.key, { ...one, revision: step.revision });
    for (const key of step.delete ?? []) this.entries.delete(key);
    for (const [id, lease] of Object.entries(step.leases ?? {})) {
      if (lease === null) this.leases.delete(id);
      else this.leases.set(id, lease);
    }
    if (step.put !== undefined || step.delete !== undefined) this.history.push(step);
  }

  /** The head from which a new file begins, with the latest changes as far as they fit. */
  head(most: { readonly changes: number; readonly characters: number }): Head {
    let characters = 0;
    const from = this.history.findLastIndex((step, i) => {
      characters += JSON.stringify(step).length;
      return this.history.length - i > most.changes || characters > most.characters;
    });
    return {
      format: 1,
      id: this.id,
      revision: this.revision,
      floor: this.history[from]?.revision ?? this.floor,
      entries: [...this.entries.values()],
      leases: Object.fromEntries(this.leases),
      history: this.history.slice(from + 1),
    };
  }

  /** The changes below a prefix after a revision, one list a step; undefined if they are no longer known. */
  changesAfter(after: Revision, prefix: string): readonly (readonly Change[])[] | undefined {
    if (after < this.floor || after > this.revision) return undefined;
    return this.history
      .filter(({ revision }) => revision > after)
      .map((step) => changesOf(step, prefix))
      .filter((changes) => changes.length > 0);
  }

  /** The step by which leases end: those named, with their keys. */
  ending(ids: readonly string[]): Step {
    const ended = new Set(ids);
    const keys = [...this.entries.values()]
      .filter(({ lease }) => lease !== undefined && ended.has(lease))
      .map(({ key }) => key);
    const leases = Object.fromEntries(ids.map((id) => [id, null]));
    return keys.length === 0
      ? { revision: this.revision, leases }
      : { revision: this.revision + 1, delete: keys, leases };
  }

  /** The leases whose time is over. */
  overdue(now: number): readonly string[] {
    return [...this.leases].filter(([, { expires }]) => expires <= now).map(([id]) => id);
  }

  /** When the next lease ends, in milliseconds since 1970. */
  nextEnd(): number {
    let next = Infinity;
    for (const { expires } of this.leases.values()) next = Math.min(next, expires);
    return next;
  }
}

function changesOf(step: Step, prefix: string): readonly Change[] {
  const { revision } = step;
  const puts = (step.put ?? [])
    .filter(({ key }) => key.startsWith(prefix))
    .map((one): Change => ({ kind: "put", entry: { ...one, revision } }));
  const deletes = (step.delete ?? [])
    .filter((key) => key.startsWith(prefix))
    .map((key): Change => ({ kind: "delete", key, revision }));
  return [...puts, ...deletes];
}
