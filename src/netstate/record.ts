import {
  errnoOf,
  listDir,
  makeDirs,
  O,
  putText,
  readText,
  removeIfThere,
  renameFile,
  setModified,
  statPath,
  truncateFd,
  unlessErrno,
  writeText,
} from "../sys/files.ts";
import { inUserNamespace } from "../sys/capabilities.ts";
import { lockFile, tryLockFile } from "../sys/flock.ts";
import type { NetState } from "./model.ts";
import { markOf, type Owner } from "./owner.ts";
import { parse, stringify } from "./state-json.ts";
import { requireTrusted } from "./trusted-dir.ts";

/**
 * The record of an attachment: a journal of lines in a file of its own, named by the mark. It is `MARK.pending` from
 * before the first kernel request until the last, then `MARK`. Each line is written before what it speaks of is
 * done, so that a line cut short by a kill speaks of nothing. Records live on tmpfs and are never synced: a
 * container does not outlive a power loss.
 */
export interface NetnsIdentity {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  /** Never used again, unlike device and inode; absent before Linux 5.14. */
  readonly cookie?: string;
}

/** A value that was there before ADD changed it. `object` is the place in the state's list. */
export interface Borrowed {
  readonly object: number;
  readonly value: string;
}

/** What was asked for outside the kernel, so that it is given back to the same place: an IPAM plugin and its key. */
export interface Lease {
  readonly plugin: string;
  readonly config: unknown;
}

export interface AttachmentRecord {
  readonly owner: Owner;
  readonly netns: NetnsIdentity;
  readonly lease?: Lease;
  readonly committed: boolean;
  /** What was, or was about to be, made. Absent if ADD ended before it had a plan. */
  readonly state?: NetState;
  readonly borrowed: readonly Borrowed[];
  /** Marks of attachments of the same container that want a host port which this one has. */
  readonly heirs: readonly string[];
  /** Where another program puts the container's interface, if it told: path of a namespace, which may not be there yet. */
  readonly sandbox?: string;
}

interface Head {
  readonly v: 1;
  readonly owner: Owner;
  readonly netns: NetnsIdentity;
  readonly lease?: Lease;
}

const PENDING = ".pending";

const RUN_DIR = "/run/heddle";

/**
 * `/run/heddle`, or `HEDDLE_RUN_DIR` if that is an absolute path: several hosts on one machine keep theirs apart. In a user
 * namespace, where `/run` is the machine's, the user's own: `heddle` in `XDG_RUNTIME_DIR`, if there is one.
 */
export function runDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const asked = env["HEDDLE_RUN_DIR"];
  if (asked !== undefined && asked.startsWith("/")) return asked;
  return userRunDir(env) ?? RUN_DIR;
}

/** Where a user's own things are in a user namespace; undefined outside of one. */
export function userRunDir(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  const user = env["XDG_RUNTIME_DIR"];
  return user !== undefined && user.startsWith("/") && inUserNamespace() ? `${user}/heddle` : undefined;
}

/** Throws `env/invalid` if it was chosen by a variable and is a directory that others can write to. */
export function recordDir(): string {
  const dir = runDir();
  if (dir !== RUN_DIR)
    requireTrusted(dir, dir === process.env["HEDDLE_RUN_DIR"] ? "HEDDLE_RUN_DIR" : "XDG_RUNTIME_DIR");
  return `${dir}/attachments`;
}

/** The record of one key, held under its lock until it is closed. */
export interface OpenRecord extends Disposable {
  /** What an earlier ADD left, if anything. */
  readonly found: AttachmentRecord | undefined;
  /** Begins a journal; what was found is gone after this. */
  begin(netns: NetnsIdentity, lease?: Lease): void;
  plan(state: NetState): void;
  /** A plan that goes on with the last one: its objects, which stay what and where they are, and more behind them. */
  extend(state: NetState): void;
  borrow(borrowed: Borrowed): void;
  /** Where the interface goes, from now on. Only what shows people something reads it. */
  place(sandbox: string): void;
  /** The last step of ADD. */
  commit(): void;
  /** The last step of DEL. */
  remove(): void;
}

/**
 * Opens the record of `owner` and waits for its lock, so that two calls for one key follow each other. Nothing is
 * left behind if neither `begin` was called nor a record was there.
 */
export function openRecord(owner: Owner): OpenRecord {
  const path = `${recordDir()}/${markOf(owner)}`;
  const pending = path + PENDING;
  const lock = lockPending(pending);
  const committed = readRecord(path, true);
  const found = committed ?? readRecord(pending, false);
  let state: "found" | "begun" | "committed" | "removed" = found ? "found" : "removed";
  const append = (line: unknown): void => {
    writeText(lock.fd, `${stringify(line)}\n`, pending);
  };
  return {
    found,
    begin(netns, lease) {
      removeIfThere(path);
      truncateFd(lock.fd);
      append({ v: 1, owner, netns, ...(lease ? { lease } : {}) } satisfies Head);
      state = "begun";
    },
    plan: (plan) => append({ state: plan }),
    extend: (plan) => append({ state: plan, goesOn: true }),
    borrow: (borrowed) => append({ borrowed }),
    place(sandbox) {
      if (state === "begun") append({ sandbox });
      else addLine(path, { sandbox });
    },
    commit() {
      renameFile(pending, path);
      state = "committed";
    },
    remove() {
      removeIfThere(path);
      state = "removed";
    },
    [Symbol.dispose]() {
      // The pending file is also the lock: it goes while the lock is held, and only if it says nothing.
      if (state === "removed" || (state === "found" && found?.committed)) removeIfThere(pending);
      lock[Symbol.dispose]();
    },
  };
}

function lockPending(pending: string): ReturnType<typeof lockFile> {
  try {
    return lockFile(pending, "exclusive");
  } catch (e) {
    if (errnoOf(e) !== "ENOENT") throw e;
    makeDirs(recordDir(), 0o700);
    return lockFile(pending, "exclusive");
  }
}

/** Reads a record without its lock; a file that is not a record, or says nothing yet, is none. */
function readRecord(path: string, committed: boolean): AttachmentRecord | undefined {
  const text = unlessErrno(["ENOENT", "ELOOP"], () => readText(path, O.NOFOLLOW));
  if (text === undefined) return undefined;
  // What stands behind the last line end was cut short by a kill.
  const lines = text.split("\n").slice(0, -1);
  let record: AttachmentRecord | undefined;
  for (const line of lines) {
    let entry: Partial<Head> & {
      state?: NetState;
      goesOn?: boolean;
      borrowed?: Borrowed;
      heir?: string;
      sandbox?: string;
    };
    try {
      entry = parse(line) as typeof entry;
    } catch {
      break;
    }
    if (entry.v === 1 && entry.owner && entry.netns)
      record = {
        owner: entry.owner,
        netns: entry.netns,
        ...(entry.lease ? { lease: entry.lease } : {}),
        committed,
        borrowed: [],
        heirs: [],
      };
    else if (record && Array.isArray(entry.state?.objects))
      record = { ...record, state: entry.state, borrowed: entry.goesOn ? record.borrowed : [] };
    else if (record && entry.borrowed) record = { ...record, borrowed: [...record.borrowed, entry.borrowed] };
    else if (record && typeof entry.heir === "string")
      record = { ...record, heirs: [...record.heirs, entry.heir] };
    else if (record && typeof entry.sandbox === "string") record = { ...record, sandbox: entry.sandbox };
  }
  return record;
}

/** The record behind a mark, committed or pending, without waiting for its lock. */
export const peekRecord = (mark: string): AttachmentRecord | undefined =>
  readRecord(`${recordDir()}/${mark}`, true) ??
  readRecord(`${recordDir()}/${mark}${PENDING}`, false) ??
  // It was committed, and thus renamed, between the two looks.
  readRecord(`${recordDir()}/${mark}`, true);

/**
 * Adds a line to the record behind `mark`, which may be somebody else's and at work: the lines of both stand whole, one
 * behind the other. Nothing is done if there is no record.
 */
export function addHeir(mark: string, heir: string): void {
  const path = `${recordDir()}/${mark}`;
  const added = (file: string): boolean => addLine(file, { heir });
  // It may be committed, and thus renamed, between the first two looks.
  void (added(path) || added(path + PENDING) || added(path));
}

/** False if there is no such file. */
const addLine = (file: string, line: unknown): boolean =>
  unlessErrno(["ENOENT"], () => {
    const before = statPath(file);
    putText(file, `${stringify(line)}\n`, O.APPEND | O.NOFOLLOW);
    // Its time tells when it was attached.
    if (before !== undefined) setModified(file, Number(before.mtimeNs) / 1e9);
    return true;
  }) ?? false;

/** When the record of this key was last written, which is in its ADD: milliseconds since 1970. */
export function recordedAt(owner: Owner): number | undefined {
  const path = `${recordDir()}/${markOf(owner)}`;
  const file = statPath(path) ?? statPath(path + PENDING) ?? statPath(path);
  return file && Number(file.mtimeNs) / 1e6;
}

/** True while a call for this key is at work. */
export function isBusy(owner: Owner): boolean {
  const path = `${recordDir()}/${markOf(owner)}${PENDING}`;
  if (statPath(path) === undefined) return false;
  using lock = tryLockFile(path);
  // The file may have gone after the look, and was made anew to be locked.
  if (lock !== undefined && readRecord(path, false) === undefined) removeIfThere(path);
  return lock === undefined;
}

/** Every record whose mark begins with `prefix`. */
export function listRecords(prefix: string): readonly AttachmentRecord[] {
  const marks = new Set(filesOf(prefix).map((n) => n.replace(PENDING, "")));
  return [...marks].map(peekRecord).filter((r) => r !== undefined);
}

/** Removes the files of `prefix` that say nothing, since ADD was killed before it had written a line. */
export function removeEmptyRecords(prefix: string): void {
  for (const name of filesOf(prefix).filter((n) => n.endsWith(PENDING))) {
    const path = `${recordDir()}/${name}`;
    if (readRecord(path, false) !== undefined) continue;
    // Who holds the lock is about to write.
    using lock = tryLockFile(path);
    if (lock !== undefined && readRecord(path, false) === undefined) removeIfThere(path);
  }
}

function filesOf(prefix: string): readonly string[] {
  const entries = unlessErrno(["ENOENT"], () => listDir(recordDir())) ?? [];
  return entries.map((e) => e.name).filter((n) => n.startsWith(prefix));
}

/** Paths of files of `prefix` that are no record. One that is very young may be about to be written. */
export const unreadableRecords = (prefix: string): readonly string[] =>
  filesOf(prefix)
    .map((name) => `${recordDir()}/${name}`)
    .filter((path) => statPath(path) !== undefined && readRecord(path, true) === undefined);
