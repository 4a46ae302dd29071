/** Waiting for a descriptor, for the short-lived processes that may block. A long-running one never calls this. */
import { call } from "./libc.ts";

/** POLLIN (asm-generic/poll.h). */
const POLLIN = 1;

/**
 * Waits until there is something to read, or an error to be read, for at most `timeoutMs` milliseconds. Returns false if
 * there was nothing. A signal begins the time anew.
 */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  // struct pollfd: int fd; short events; short revents.
  const pollfd = new DataView(new ArrayBuffer(8));
  pollfd.setInt32(0, fd, true);
  pollfd.setInt16(4, POLLIN, true);
  const bytes = new Uint8Array(pollfd.buffer);
  const ms = Math.max(0, Math.min(0x7fff_ffff, Math.ceil(timeoutMs)));
  return call("poll", `descriptor ${fd}`, (libc) => libc.poll(bytes, 1, ms)) > 0;
}

/** As `waitReadable`, for several descriptors: which of them have something to be read, in the order given. */
export function waitAnyReadable(fds: readonly number[], timeoutMs: number): readonly number[] {
  const size = 8;
  const pollfds = new DataView(new ArrayBuffer(Math.max(1, fds.length) * size));
  fds.forEach((fd, i) => {
    pollfds.setInt32(i * size, fd, true);
    pollfds.setInt16(i * size + 4, POLLIN, true);
  });
  const bytes = new Uint8Array(pollfds.buffer);
  const ms = Math.max(0, Math.min(0x7fff_ffff, Math.ceil(timeoutMs)));
  call("poll", `${fds.length} descriptors`, (libc) => libc.poll(bytes, fds.length, ms));
  return fds.filter((_, i) => pollfds.getInt16(i * size + 6, true) !== 0);
}
