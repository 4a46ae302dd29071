/**
 * What etcd is to the real server: every version of every object by a revision that grows with each write, until it is
 * compacted. Lists of a past moment and watches from there on are read from it.
 */
import type { JsonObject } from "./json.ts";

export interface StoredChange {
  readonly key: string;
  readonly revision: number;
  readonly before?: JsonObject;
  readonly after?: JsonObject;
}

export interface Store {
  /** Of the last write. */
  revision(): number;
  /** Nothing before this revision can be listed or watched any longer. */
  oldest(): number;
  get(key: string): JsonObject | undefined;
  /** What was below the prefix at that revision, by key. @throws RangeError if that is compacted */
  at(prefix: string, revision: number): readonly (readonly [key: string, object: JsonObject])[];
  /** Writes what `make` makes of the new revision; `undefined` deletes. */
  write(key: string, make: (revision: number) => JsonObject | undefined): void;
  /** All changes after that revision, in order. @throws RangeError if some of them are compacted */
  after(revision: number): readonly StoredChange[];
  /** Calls back after each write, until the returned function is called. */
  subscribe(listener: (change: StoredChange) => void): () => void;
  /** Forgets all but what is current. */
  compact(): void;
}

export function createStore(): Store {
  const current = new Map<string, JsonObject>();
  const listeners = new Set<(change: StoredChange) => void>();
  let log: StoredChange[] = [];
  let revision = 1;
  let oldest = 1;
  const mustHave = (wanted: number): void => {
    if (wanted < oldest) throw new RangeError(`revision ${wanted} is compacted`);
  };
  return {
    revision: () => revision,
    oldest: () => oldest,
    get: (key) => current.get(key),
    at: (prefix, wanted) => {
      mustHave(wanted);
      const then = new Map(current);
      for (const { key, before } of log.filter((change) => change.revision > wanted).toReversed())
        if (before === undefined) then.delete(key);
        else then.set(key, before);
      return [...then]
        .filter(([key]) => key.startsWith(prefix))
        .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    },
    write: (key, make) => {
      const before = current.get(key);
      const after = make(revision + 1);
      if (before === undefined && after === undefined) return;
      revision++;
      if (after === undefined) current.delete(key);
      else current.set(key, after);
      const change: StoredChange = {
        key,
        revision,
        ...(before === undefined ? {} : { before }),
        ...(after === undefined ? {} : { after }),
      };
      log.push(change);
      for (const listener of listeners) listener(change);
    },
    after: (wanted) => {
      mustHave(wanted);
      return log.filter((change) => change.revision > wanted);
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    compact: () => {
      log = [];
      oldest = revision;
    },
  };
}
