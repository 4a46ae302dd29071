/**
 * A store in a directory of one host, for a host alone and for a lab, whose hosts are namespaces that share it. Any number
 * of processes use it at once. A lease ends by the clock: whoever asks next, or watches, takes its keys away.
 */
import { type FSWatcher, watch } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isNetError, NetError } from "../../errors.ts";
import { type Bell, newBell } from "./bell.ts";
import type { Image, Step } from "./file-image.ts";
import { FileLog } from "./file-log.ts";
import {
  type Change,
  type Condition,
  type Entry,
  type Kv,
  LIST_LIMIT,
  type Listing,
  type PutOptions,
  requireLeaseTime,
  requireWritable,
  type Revision,
  type WatchOptions,
} from "./kv.ts";

export interface FileStoreOptions {
  /** Made with mode 0700 if it is not there; nobody else may be able to write to it. */
  readonly dir: string;
  /** How many changes are kept for those who watch; 1,000 unless told. */
  readonly changes?: number;
  /** How long a lock of somebody else is waited for, in milliseconds; 5,000 unless told. */
  readonly lockMs?: number;
  /** Milliseconds since 1970, for tests. */
  readonly now?: () => number;
}

/** The directory is looked at, and made, by the first call. */
export const openFileStore = (options: FileStoreOptions): Kv => new FileStore(options);

/** How often a watch looks without having been woken, in milliseconds. */
const LOOK_MS = 1000;
/** The longest pause between two tries to get the lock, in milliseconds. */
const LOCK_PAUSE_MS = 16;

/** What a write does to the store as it is: a step, or nothing; and what it returns. */
interface Plan<T> {
  readonly step?: Step;
  readonly result: T;
}

class FileStore implements Kv {
  readonly name: string;
  private readonly log: FileLog;
  private readonly lockMs: number;
  private readonly now: () => number;
  private readonly closing = new AbortController();

  constructor({ dir, changes = 1000, lockMs = 5000, now = Date.now }: FileStoreOptions) {
    this.name = dir;
    this.log = new FileLog(dir, changes);
    this.lockMs = lockMs;
    this.now = now;
  }

  async get(key: string): Promise<Entry | undefined> {
    return (await this.present()).entries.get(key);
  }

  async list(prefix: string): Promise<Listing> {
    const { entries, revision } = await this.present();
    const found = [...entries.values()].filter(({ key }) => key.startsWith(prefix));
    if (found.length > LIST_LIMIT) throw this.unavailable(`more than ${LIST_LIMIT} keys below ${prefix}`);
    return {
      entries: found.toSorted((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))),
      revision,
    };
  }

  async put(key: string, value: string, { lease, when }: PutOptions = {}): Promise<Revision | undefined> {
    requireWritable(this.name, key, value);
    return this.write<Revision | undefined>((image) => {
      if (!holds(image, key, when)) return { result: undefined };
      if (lease !== undefined && !image.leases.has(lease))
        throw new NetError("try-again", { why: `${this.name}: lease ${lease} is gone` });
      const revision = image.revision + 1;
      const put = { key, value, ...(lease === undefined ? {} : { lease }) };
      return { step: { revision, put: [put] }, result: revision };
    });
  }

  delete(key: string, when?: Condition): Promise<boolean> {
    return this.write((image) => {
      if (!image.entries.has(key) || !holds(image, key, when)) return { result: false };
      return { step: { revision: image.revision + 1, delete: [key] }, result: true };
    });
  }

  async *watch(prefix: string, { after, signal }: WatchOptions): AsyncGenerator<readonly Change[]> {
    const until = AbortSignal.any([signal, this.closing.signal]);
    const bell = newBell(until);
    using directory = watchDirectory(this.name, bell);
    let last = after;
    let id = "";
    while (!until.aborted) {
      directory.listen();
      const rung = bell.next();
      const image = await this.presentUnlessAway();
      if (image !== undefined) {
        // A store that somebody made anew has other keys and begins to count again.
        const found = id === "" || id === image.id ? image.changesAfter(last, prefix) : undefined;
        if (found === undefined)
          throw new NetError("store/compacted", { store: this.name, since: String(last) });
        id = image.id;
        last = image.revision;
        yield* found;
      }
      await rung(Math.min(LOOK_MS, Math.max(1, (image?.nextEnd() ?? Infinity) - this.now())));
    }
  }

  async grant(seconds: number): Promise<string> {
    requireLeaseTime(seconds);
    const id = newId();
    return this.write((image, now) => ({ step: beginning(image, id, seconds, now), result: id }));
  }

  refresh(lease: string): Promise<number | undefined> {
    return this.write<number | undefined>((image, now) => {
      const seconds = image.leases.get(lease)?.seconds;
      if (seconds === undefined) return { result: undefined };
      return { step: beginning(image, lease, seconds, now), result: seconds };
    });
  }

  async timeToLive(lease: string): Promise<number | undefined> {
    const state = (await this.present()).leases.get(lease);
    return state && Math.max(1, Math.ceil((state.expires - this.now()) / 1000));
  }

  async revoke(lease: string): Promise<void> {
    await this.write((image) =>
      image.leases.has(lease) ? { step: image.ending([lease]), result: undefined } : { result: undefined },
    );
  }

  revokeUnused(lease: string): Promise<boolean> {
    return this.write((image) => {
      if ([...image.entries.values()].some((entry) => entry.lease === lease)) return { result: false };
      return image.leases.has(lease) ? { step: image.ending([lease]), result: true } : { result: true };
    });
  }

  close(): void {
    this.closing.abort();
    this.log.close();
  }

  /** The store as it is now, without what should have ended. */
  private async present(): Promise<Image> {
    this.requireOpen();
    const image = this.log.read();
    if (image.nextEnd() > this.now()) return image;
    await this.write(() => ({ result: undefined }));
    return this.log.read();
  }

  private async presentUnlessAway(): Promise<Image | undefined> {
    try {
      return await this.present();
    } catch (e) {
      if (isNetError(e, "store/unavailable")) return undefined;
      throw e;
    }
  }

  /** Under the lock: what should have ended ends, then the plan is made and done. Nothing in between waits. */
  private async write<T>(plan: (image: Image, now: number) => Plan<T>): Promise<T> {
    this.requireOpen();
    using _lock = await this.locked();
    const now = this.now();
    const overdue = this.log.readLocked().overdue(now);
    if (overdue.length > 0) this.log.append(this.log.readLocked().ending(overdue));
    const { step, result } = plan(this.log.readLocked(), now);
    if (step !== undefined) this.log.append(step);
    return result;
  }

  private async locked(): Promise<Disposable> {
    const late = performance.now() + this.lockMs;
    for (let pause = 1; ; pause = Math.min(2 * pause, LOCK_PAUSE_MS)) {
      this.requireOpen();
      const lock = this.log.tryLock();
      if (lock !== undefined) return lock;
      if (performance.now() > late) throw this.unavailable(`somebody has had its lock for ${this.lockMs} ms`);
      await sleep(pause * (0.5 + Math.random()));
    }
  }

  private requireOpen(): void {
    if (this.closing.signal.aborted) throw this.unavailable("it was closed");
  }

  private unavailable(why: string): NetError {
    return new NetError("store/unavailable", { store: this.name, why });
  }
}

function holds(image: Image, key: string, when: Condition | undefined): boolean {
  if (when === undefined) return true;
  const there = image.entries.get(key);
  return "absent" in when ? there === undefined : there?.revision === when.revision;
}

const beginning = ({ revision }: Image, id: string, seconds: number, now: number): Step => ({
  revision,
  leases: { [id]: { seconds, expires: now + seconds * 1000 } },
});

/** A number of 62 bits in decimal, as etcd's. */
const newId = (): string => {
  const [random = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return String((random >> 2n) + 1n);
};

/** Rings `bell` when the kernel tells of a change in the directory, once `listen` was called. */
function watchDirectory(dir: string, { ring }: Bell): Disposable & { readonly listen: () => void } {
  let watcher: FSWatcher | undefined;
  return {
    listen: () => {
      if (watcher !== undefined) return;
      try {
        watcher = watch(dir, { persistent: false }, ring).on("error", () => (watcher = undefined));
      } catch {
        // Not there yet, or the kernel has no watches left: then it is looked at now and then.
      }
    },
    [Symbol.dispose]: () => watcher?.close(),
  };
}
