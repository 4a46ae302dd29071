import { fromSystem, NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";

/**
 * Files by system calls: what a plugin process does with them between its start and its end. `node:fs` does the same
 * and more, and costs such a process a tenth of its time to load (bench/README.md); what runs longer may use it.
 * Failures are `sys/call` with the name of the error.
 */

/** Flags of `openFile` (asm-generic/fcntl.h; the same on x86-64 and arm64 but for NOFOLLOW, see below). */
export const O = {
  RDONLY: 0,
  WRONLY: 0o1,
  RDWR: 0o2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  NOFOLLOW: process.arch === "arm64" ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  /** Names the file without opening it for reading or writing. */
  PATH: 0o10000000,
} as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A path as the kernel takes it. One with a zero byte would mean another file to the kernel than to us. */
export function cPath(path: string): Uint8Array {
  if (path.includes("\0")) throw new NetError("sys/call", { call: "open", on: path, errno: "EINVAL" });
  return encoder.encode(`${path}\0`);
}

/** The errno name of a failed system call or of a failed call of `node:fs`; undefined for every other error. */
export function errnoOf(e: unknown): string | undefined {
  if (e instanceof NetError) return e.is("sys/call") ? e.detail.errno : undefined;
  return e instanceof Error && "code" in e && typeof e.code === "string" ? e.code : undefined;
}

/** What `work` returns, or undefined if it fails with one of these errors. */
export function unlessErrno<T>(errnos: readonly string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (e) {
    if (errnos.includes(errnoOf(e) ?? "")) return undefined;
    throw e;
  }
}

/** Opens a file; always with CLOEXEC. `mode` is for a file that is made. */
export function openFile(path: string, flags: number, mode = 0): Fd {
  const name = cPath(path);
  return new Fd(call("open", path, (libc) => libc.open(name, flags | O.CLOEXEC, mode)));
}

/** Reads once; 0 is the end. */
export const readSome = (fd: number, into: Uint8Array): number | string =>
  tryCall((libc) => Number(libc.read(fd, into, into)));

/** Writes once and returns how many bytes went, or the name of the error. */
export const writeSome = (fd: number, bytes: Uint8Array): number | string =>
  tryCall((libc) => Number(libc.write(fd, bytes, bytes)));

/** Small files are read in one piece, larger ones in several. */
const CHUNK = 16 * 1024;

/** More than any table of the kernel or file of ours has, and less than a host's memory. */
const MOST_BYTES = 256 * 1024 * 1024;

/**
 * Everything from where the descriptor stands to the end.
 * @throws decode/malformed if it is more than `most` bytes, sys/call
 */
export function readAll(fd: number, what: string, most = MOST_BYTES): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (let length = 0; ;) {
    const chunk = new Uint8Array(new ArrayBuffer(CHUNK));
    const n = readSome(fd, chunk);
    if (typeof n === "string") throw new NetError("sys/call", { call: "read", on: what, errno: n });
    if (n === 0) break;
    chunks.push(chunk.subarray(0, n));
    length += n;
    if (length > most) throw new NetError("decode/malformed", { what, why: `larger than ${most} bytes` });
  }
  const [only] = chunks;
  return chunks.length === 1 && only ? only : Buffer.concat(chunks);
}

/**
 * The content of a file as text. `flags` are added to the reading open. A pipe in its place is not waited for; that it
 * is one is asked only where nothing was read, which costs other files no call.
 * @throws decode/malformed if it is a pipe, or more than `most` bytes; sys/call
 */
export function readText(path: string, flags = 0, most = MOST_BYTES): string {
  using fd = openFile(path, O.RDONLY | O.NONBLOCK | flags);
  const bytes = unlessErrno(["EAGAIN"], () => readAll(fd.raw, path, most));
  if (bytes === undefined || (bytes.length === 0 && statFd(fd.raw).isPipe))
    throw new NetError("decode/malformed", { what: path, why: "is not a file" });
  return decoder.decode(bytes);
}

/** Writes all of it, at the descriptor's position. */
export function writeText(fd: number, text: string, what: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) {
    const n = writeSome(fd, at === 0 ? bytes : bytes.subarray(at));
    if (typeof n === "string") throw new NetError("sys/call", { call: "write", on: what, errno: n });
    at += n;
  }
}

/** Opens with these flags, writes and closes; a new file gets `mode`. */
export function putText(path: string, text: string, flags: number, mode = 0o600): void {
  using fd = openFile(path, O.WRONLY | flags, mode);
  writeText(fd.raw, text, path);
}

export interface FileStat {
  /** Device and inode name a file; some file systems use all 64 bits of the latter. */
  readonly dev: bigint;
  readonly ino: bigint;
  /** Type and permission bits, as in `struct stat`. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly isFile: boolean;
  readonly isLink: boolean;
  readonly isCharDevice: boolean;
  readonly isPipe: boolean;
}

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
const STATX_BASIC_STATS = 0x7ff;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFCHR = 0o020000;
const S_IFLNK = 0o120000;
const S_IFIFO = 0o010000;
const S_IFDIR = 0o040000;
/** Minors have 20 bits in the kernel (linux/kdev_t.h). */
const MINORS = 0x100000n;

/** `struct statx` (linux/stat.h) is the same on every machine, unlike `struct stat`. */
function decodeStat(v: DataView): FileStat {
  const time = (at: number): bigint =>
    v.getBigInt64(at, true) * 1_000_000_000n + BigInt(v.getUint32(at + 8, true));
  const mode = v.getUint16(28, true);
  return {
    dev: BigInt(v.getUint32(136, true)) * MINORS + BigInt(v.getUint32(140, true)),
    ino: v.getBigUint64(32, true),
    mode,
    uid: v.getUint32(20, true),
    gid: v.getUint32(24, true),
    size: Number(v.getBigUint64(40, true)),
    ctimeNs: time(96),
    mtimeNs: time(112),
    isFile: (mode & S_IFMT) === S_IFREG,
    isLink: (mode & S_IFMT) === S_IFLNK,
    isCharDevice: (mode & S_IFMT) === S_IFCHR,
    isPipe: (mode & S_IFMT) === S_IFIFO,
  };
}

function statx(dir: number, path: string, flags: number): FileStat | string {
  const name = cPath(path);
  const out = new Uint8Array(new ArrayBuffer(256));
  const result = tryCall((libc) => libc.statx(dir, name, flags, STATX_BASIC_STATS, out));
  return typeof result === "string" ? result : decodeStat(new DataView(out.buffer));
}

function there(path: string, found: FileStat | string): FileStat | undefined {
  if (typeof found !== "string") return found;
  if (found === "ENOENT" || found === "ENOTDIR") return undefined;
  throw new NetError("sys/call", { call: "stat", on: path, errno: found });
}

/** What is at the path, or undefined if there is nothing. */
export const statPath = (path: string): FileStat | undefined => there(path, statx(AT_FDCWD, path, 0));

/** As `statPath`, of a symbolic link itself. */
export const statLink = (path: string): FileStat | undefined =>
  there(path, statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW));

export function statFd(fd: number): FileStat {
  const found = statx(fd, "", AT_EMPTY_PATH);
  if (typeof found === "string")
    throw new NetError("sys/call", { call: "stat", on: `descriptor ${fd}`, errno: found });
  return found;
}

export function removeFile(path: string): void {
  const name = cPath(path);
  call("unlink", path, (libc) => libc.unlink(name));
}

/** As `removeFile`; false if there was none. */
export const removeIfThere = (path: string): boolean =>
  unlessErrno(["ENOENT"], () => (removeFile(path), true)) ?? false;

export function renameFile(from: string, to: string): void {
  const [a, b] = [cPath(from), cPath(to)];
  call("rename", from, (libc) => libc.rename(a, b));
}

/** A second name for a file. EEXIST if the name is taken. */
export function linkFile(from: string, to: string): void {
  const [a, b] = [cPath(from), cPath(to)];
  call("link", to, (libc) => libc.link(a, b));
}

export const truncateFd = (fd: number): void =>
  void call("ftruncate", `descriptor ${fd}`, (libc) => libc.ftruncate(fd, 0));

/** The directory that a path is in; of the root the root. */
export const dirOf = (path: string): string => {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(0, Math.max(trimmed.lastIndexOf("/"), 0)) || "/";
};

/** Makes a directory and those above it; one that is there is left alone. */
export function makeDirs(path: string, mode: number): void {
  const above = dirOf(path);
  let refused = makeDir(path, mode);
  if (refused === "ENOENT" && above !== path) {
    makeDirs(above, mode);
    refused = makeDir(path, mode);
  }
  if (refused !== undefined) throw new NetError("sys/call", { call: "mkdir", on: path, errno: refused });
}

/** Undefined if it is there then, else what the kernel says. */
function makeDir(path: string, mode: number): string | undefined {
  const name = cPath(path);
  const made = tryCall((libc) => libc.mkdir(name, mode));
  if (typeof made !== "string") return undefined;
  const found = made === "EEXIST" ? statPath(path) : undefined;
  return found !== undefined && (found.mode & S_IFMT) === S_IFDIR ? undefined : made;
}

/** Sets the modification time, in seconds since 1970, and leaves the time of access alone. */
export function setModified(path: string, seconds: number): void {
  const UTIME_OMIT = 0x3ffffffen;
  const whole = Math.floor(seconds);
  const times = new BigInt64Array(new ArrayBuffer(32));
  times.set([0n, UTIME_OMIT, BigInt(whole), BigInt(Math.floor((seconds - whole) * 1e9))]);
  const name = cPath(path);
  call("utimensat", path, (libc) => libc.utimensat(AT_FDCWD, name, times, 0));
}

/** Waits until what was written to the file, or the names in the directory, are on the disk. */
export function syncPath(path: string): void {
  using fd = openFile(path, O.RDONLY);
  call("fsync", path, (libc) => libc.fsync(fd.raw));
}

/** The names in a directory. Rare on a plugin's way, so that it may load what can list one. */
export function listDir(path: string): readonly { readonly name: string; readonly isFile: boolean }[] {
  const entries = process.getBuiltinModule("node:fs").readdirSync(path, { withFileTypes: true });
  return entries.map((e) => ({ name: e.name, isFile: e.isFile() }));
}

/** Where a symbolic link leads, as it is written; undefined if there is none. Rare, as `listDir`. */
export function readLink(path: string): string | undefined {
  try {
    return process.getBuiltinModule("node:fs").readlinkSync(path);
  } catch (e) {
    const errno = errnoOf(e);
    if (errno === "ENOENT" || errno === "ENOTDIR" || errno === "EINVAL") return undefined;
    throw new NetError("sys/call", { call: "readlink", on: path, errno: errno ?? "EIO" }, { cause: e });
  }
}

/** Gives a file to a user and a group (undefined: as it is) with these permission bits. Rare, as `listDir`. */
export function giveFile(
  path: string,
  to: { readonly uid: number | undefined; readonly gid: number | undefined; readonly mode: number },
): void {
  const fs = process.getBuiltinModule("node:fs");
  try {
    fs.chownSync(path, to.uid ?? -1, to.gid ?? -1);
    fs.chmodSync(path, to.mode);
  } catch (e) {
    throw fromSystem(e);
  }
}
