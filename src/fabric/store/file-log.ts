/**
 * The one file of a file store and the lock beside it. Reading takes in what others have appended; writing appends under
 * the lock and syncs; a file that has grown is replaced by a new one. At whatever point a process dies, what stands in
 * the file is a whole number of steps: a line that was cut short is passed over and goes with the next write.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fromSystem, NetError } from "../../errors.ts";
import { requireTrusted } from "../../netstate/trusted-dir.ts";
import { type FileStat, makeDirs, renameFile, statFd, statPath, syncPath } from "../../sys/files.ts";
import { type Lock, tryLockFile } from "../../sys/flock.ts";
import { type Head, Image, type Step } from "./file-image.ts";
import { asHead, asStep, lineOf, readLines } from "./file-lines.ts";

/** Largest file that is read, in bytes. */
const FILE_LIMIT = 256 * 1024 * 1024;
/** A new file is begun when the steps take as much as the head, and at least this, in bytes. */
const STEPS_SIZE = 256 * 1024;
/** How much of the changes a new file keeps, in characters. */
const HISTORY_SIZE = 4 * 1024 * 1024;

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDWR, O_TRUNC } = constants;

interface Reading {
  readonly fd: number;
  readonly image: Image;
  /** Up to where the file is read, and where its head ends. */
  readonly at: number;
  readonly headEnd: number;
}

export class FileLog {
  private readonly file: string;
  private readonly next: string;
  private readonly lock: string;
  private readonly dir: string;
  private readonly changes: number;
  private reading: Reading | undefined;

  /** `changes` is how many changes a new file keeps. */
  constructor(dir: string, changes: number) {
    this.dir = dir;
    this.changes = changes;
    this.file = join(dir, "store");
    this.next = join(dir, "store.new");
    this.lock = join(dir, "lock");
  }

  /**
   * What the store holds now; the store is made if there never was one here.
   * @throws store/unavailable
   */
  read(): Image {
    return this.asUnavailable(() => this.catchUp(false));
  }

  /** The lock of the store, if nobody else has it now. It is never held across anything that waits. */
  tryLock(): Lock | undefined {
    return this.asUnavailable(() => {
      if (this.reading === undefined) this.prepare();
      return tryLockFile(this.lock);
    });
  }

  /** As `read`, for who has the lock: what was cut short is removed, and a store that is not there is made. */
  readLocked(): Image {
    return this.asUnavailable(() => this.catchUp(true));
  }

  /** Writes a step, for who has the lock and has read; it is on the disk when this returns. */
  append(step: Step): void {
    this.asUnavailable(() => {
      const { fd, image, at, headEnd } = this.current();
      const line = Buffer.from(lineOf(step));
      const end = at + line.length;
      if (end > FILE_LIMIT) throw this.unavailable("the store is full");
      try {
        writeAll(fd, line);
      } catch (e) {
        // Half of a line may stand there, and a full disk has no room for it.
        ftruncateSync(fd, at);
        throw e;
      }
      fsyncSync(fd);
      image.apply(step);
      this.reading = { fd, image, at: end, headEnd };
      if (end > headEnd + Math.max(headEnd, STEPS_SIZE) || image.history.length > 2 * this.changes)
        this.replace(image);
    });
  }

  close(): void {
    if (this.reading !== undefined) closeSync(this.reading.fd);
    this.reading = undefined;
  }

  private current(): Reading {
    if (this.reading === undefined) throw this.unavailable("it was not read");
    return this.reading;
  }

  private catchUp(isLocked: boolean): Image {
    const there = statPath(this.file);
    const before = this.reading;
    if (there === undefined) {
      if (before !== undefined) throw this.unavailable(`${this.file} is gone`);
      if (!isLocked) return new Image(emptyHead(""));
      this.prepare();
      return this.replace(new Image(emptyHead(crypto.randomUUID())));
    }
    if (before === undefined || !isOpen(before.fd, there) || there.size < before.at)
      return this.readAfresh(isLocked);
    if (there.size > before.at) this.reading = this.further(before, there.size, isLocked);
    return before.image;
  }

  /** Takes in what has been appended. */
  private further(before: Reading, size: number, isLocked: boolean): Reading {
    const { fd, image, at } = before;
    const tail = this.bytesOf(fd, at, size);
    const { records, used, isDamaged } = readLines(tail);
    const steps = records.map(asStep);
    // Without the lock, a write that is going on may look like anything.
    if (isDamaged && isLocked) throw this.damaged();
    for (const step of steps) {
      if (step === undefined || step.revision < image.revision) throw this.damaged();
      image.apply(step);
    }
    if (isLocked && used < tail.length) ftruncateSync(fd, at + used);
    return { ...before, at: at + used };
  }

  /** Reads a file from its beginning: the first time, and after it was replaced. */
  private readAfresh(isLocked: boolean): Image {
    if (this.reading === undefined) this.prepare();
    const fd = openSync(this.file, O_RDWR | O_APPEND | O_NOFOLLOW);
    try {
      const { size } = fstatSync(fd);
      const bytes = this.bytesOf(fd, 0, size);
      const headEnd = bytes.indexOf(0x0a) + 1;
      const head = asHead(readLines(bytes.subarray(0, headEnd)).records[0]);
      if (head === undefined) throw this.damaged();
      const reading = this.further({ fd, image: new Image(head), at: headEnd, headEnd }, size, isLocked);
      this.close();
      this.reading = reading;
      return reading.image;
    } catch (e) {
      closeSync(fd);
      throw e;
    }
  }

  /** Puts a new file in the place of the old one, for who has the lock. */
  private replace(image: Image): Image {
    const fd = openSync(this.next, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      const head = image.head({ changes: this.changes, characters: HISTORY_SIZE });
      writeAll(fd, Buffer.from(lineOf(head)));
      fsyncSync(fd);
      renameFile(this.next, this.file);
      syncPath(this.dir);
    } finally {
      closeSync(fd);
    }
    return this.readAfresh(true);
  }

  private prepare(): void {
    makeDirs(this.dir, 0o700);
    requireTrusted(this.dir, "the directory of the store");
  }

  private bytesOf(fd: number, from: number, to: number): Uint8Array {
    if (to > FILE_LIMIT) throw this.unavailable(`${this.file} has ${to} bytes`);
    const bytes = new Uint8Array(to - from);
    let at = 0;
    for (let n = -1; at < bytes.length && n !== 0; at += n)
      n = readSync(fd, bytes, at, bytes.length - at, from + at);
    return bytes.subarray(0, at);
  }

  private damaged(): NetError {
    const why = "its lines are not what their checksums say; put back a copy, or remove it and restart";
    return this.unavailable(
      `${this.file} is damaged`,
      new NetError("decode/malformed", { what: this.file, why }),
    );
  }

  private unavailable(why: string, cause?: unknown): NetError {
    return new NetError("store/unavailable", { store: this.dir, why }, { cause });
  }

  private asUnavailable<T>(work: () => T): T {
    try {
      return work();
    } catch (e) {
      const known = fromSystem(e);
      if (known instanceof NetError && known.is("sys/call")) throw this.unavailable(known.message, known);
      throw known;
    }
  }
}

const emptyHead = (id: string): Head => ({
  format: 1,
  id,
  revision: 1,
  floor: 0,
  entries: [],
  leases: {},
  history: [],
});

function isOpen(fd: number, there: FileStat): boolean {
  const held = statFd(fd);
  return held.ino === there.ino && held.dev === there.dev;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}
