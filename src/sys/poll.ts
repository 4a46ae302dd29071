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
