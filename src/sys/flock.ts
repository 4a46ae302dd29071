import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { O_CLOEXEC } from "./fd.ts";
import { call } from "./libc.ts";

/** LOCK_SH and LOCK_EX (linux/fcntl.h). */
const operation = { shared: 1, exclusive: 2 } as const;

/**
 * Takes an advisory lock on a file (flock(2)), creating it with mode 0600, and waits until it is free. The lock
 * goes with the returned object, and with the process. Works together with every other user of flock(2).
 * If the file was removed or replaced while this waited, the new file is locked instead.
 */
export function lockFile(path: string, mode: keyof typeof operation): Disposable & { readonly fd: number } {
  for (;;) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | O_CLOEXEC | constants.O_NOFOLLOW, 0o600);
    try {
      call("flock", path, (libc) => libc.flock(fd, operation[mode]));
      if (isAt(fd, path)) return { fd, [Symbol.dispose]: () => closeSync(fd) };
    } catch (e) {
      closeSync(fd);
      throw e;
    }
    closeSync(fd);
  }
}

function isAt(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const held = fstatSync(fd);
  return there !== undefined && there.ino === held.ino && there.dev === held.dev;
}
