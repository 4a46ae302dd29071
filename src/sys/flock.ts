import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { O, openFile, statFd, statPath } from "./files.ts";
import { tryCall } from "./libc.ts";

/** LOCK_SH and LOCK_EX (linux/fcntl.h). */
const operation = { shared: 1, exclusive: 2 } as const;
const LOCK_NB = 4;

/**
 * Takes an advisory lock on a file (flock(2)), creating it with mode 0600, and waits until it is free. The lock
 * goes with the returned object, and with the process. Works together with every other user of flock(2).
 * If the file was removed or replaced while this waited, the new file is locked instead.
 */
export function lockFile(path: string, mode: keyof typeof operation): Lock {
  const lock = take(path, operation[mode]);
  if (lock === undefined) throw new TypeError("a lock that waits was refused");
  return lock;
}

/** As `lockFile`, for an exclusive lock that is not waited for: undefined while somebody else has it. */
export const tryLockFile = (path: string): Lock | undefined => take(path, operation.exclusive | LOCK_NB);

/** `fd` is the locked file, open for reading and for writing at its end. */
export type Lock = Disposable & { readonly fd: number };

function take(path: string, how: number): Lock | undefined {
  for (;;) {
    using fd = openFile(path, O.RDWR | O.CREAT | O.APPEND | O.NOFOLLOW, 0o600);
    const taken = tryCall((libc) => libc.flock(fd.raw, how));
    if (taken === "EAGAIN") return undefined;
    if (typeof taken === "string") throw new NetError("sys/call", { call: "flock", on: path, errno: taken });
    if (!isAt(fd.raw, path)) continue;
    const held = new Fd(fd.release());
    return { fd: held.raw, [Symbol.dispose]: () => held[Symbol.dispose]() };
  }
}

function isAt(fd: number, path: string): boolean {
  const there = statPath(path);
  const held = statFd(fd);
  return there !== undefined && there.ino === held.ino && there.dev === held.dev;
}
