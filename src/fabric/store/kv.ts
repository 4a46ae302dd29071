/**
 * A store of keys with revisions, leases and watches, as etcd has it and a directory of one host can be. All providers
 * that do without Kubernetes stand on it.
 *
 * Every call fails with `store/unavailable` if the store cannot be asked or its answer not be used; whether a write that
 * failed so was done is not known. It fails with `store/denied` if the store refuses who asks or what is asked.
 */
import { NetError } from "../../errors.ts";

/** The store's count of changes; grows with each. */
export type Revision = number;

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Of the last change of this key. */
  readonly revision: Revision;
  /** The lease with which the key goes; absent: it stays. */
  readonly lease?: string;
}

export type Change =
  | { readonly kind: "put"; readonly entry: Entry }
  | { readonly kind: "delete"; readonly key: string; readonly revision: Revision };

/** Under which condition a write is done: no such key yet, or the key unchanged since. */
export type Condition = { readonly absent: true } | { readonly revision: Revision };

/** What a list tells: the entries of one moment, and which. */
export interface Listing {
  readonly entries: readonly Entry[];
  readonly revision: Revision;
}

export interface PutOptions {
  readonly lease?: string;
  readonly when?: Condition;
}

export interface WatchOptions {
  readonly after: Revision;
  readonly signal: AbortSignal;
}

export interface Kv {
  /** What errors and logs call the store. */
  readonly name: string;
  get(key: string): Promise<Entry | undefined>;
  /** All keys that begin with the prefix, sorted by their bytes, of one moment: that of `revision`. */
  list(prefix: string): Promise<Listing>;
  /**
   * Returns the new revision, or undefined if the condition did not hold; then nothing was written.
   * @throws try-again if the lease is gone
   */
  put(key: string, value: string, options?: PutOptions): Promise<Revision | undefined>;
  /** Returns false if there was no such key or the condition did not hold. */
  delete(key: string, when?: Condition): Promise<boolean>;
  /**
   * The changes below a prefix after a revision, in order, each batch of one moment, until the signal; an empty one says that the
   * store is heard. A connection that breaks is taken up again without a gap. Ends with the error `store/compacted` if the store no
   * longer has that revision, and with `store/unavailable` if it was not heard in several tries: list again.
   */
  watch(prefix: string, options: WatchOptions): AsyncIterable<readonly Change[]>;
  /** A lease that ends, with all of its keys, unless it is refreshed. `seconds` is at least 1. */
  grant(seconds: number): Promise<string>;
  /** Seconds left after it began anew, or undefined if it is gone. */
  refresh(lease: string): Promise<number | undefined>;
  /** Seconds left, or undefined if it is gone. */
  timeToLive(lease: string): Promise<number | undefined>;
  /** Ends a lease now, with all of its keys. One that is gone is no error. */
  revoke(lease: string): Promise<void>;
  /** Ends a lease that no key has. Returns false if there are keys that would go with it: then it stays. */
  revokeUnused(lease: string): Promise<boolean>;
  /** Ends the watches; later calls fail with `store/unavailable`. */
  close(): void;
}

/** Longest key, in bytes of UTF-8. */
export const KEY_LIMIT = 1024;
/** Longest value, in bytes of UTF-8; etcd takes requests of 1.5 MiB unless it is told otherwise. */
export const VALUE_LIMIT = 1024 * 1024;
/** Most keys that a list may have. */
export const LIST_LIMIT = 100_000;
/** Longest time to live that etcd takes, in seconds. */
const LEASE_LIMIT = 9_000_000_000;

/** @throws store/denied unless this key, and value if there is one, may be written */
export function requireWritable(store: string, key: string, value = ""): void {
  const refuse = (why: string): never => {
    throw new NetError("store/denied", { store, why });
  };
  if (key === "") refuse("an empty key");
  if (Buffer.byteLength(key) > KEY_LIMIT) refuse(`a key of more than ${KEY_LIMIT} bytes`);
  if (Buffer.byteLength(value) > VALUE_LIMIT)
    refuse(`the value of ${key} has more than ${VALUE_LIMIT} bytes`);
}

/** @throws RangeError unless a lease can last as long */
export function requireLeaseTime(seconds: number): void {
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > LEASE_LIMIT)
    throw new RangeError(`a lease of ${seconds} seconds`);
}
