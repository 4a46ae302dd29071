/**
 * Closing without waiting, for a descriptor whose last close makes the kernel wait: neither here nor at the end of the
 * process. It goes into the queue of a socket that only this same queue refers to; the kernel's collector of such
 * sockets (net/unix/garbage.c), a thread of its own since Linux 6.9, finds both and closes them. On an older kernel, or
 * where a step fails, it is the plain close. Decision record 19 says why.
 */
import { ptr } from "bun:ffi";
import { Fd } from "./fd.ts";
import { tryCall } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;

/** `struct msghdr` (linux/socket.h), the `struct iovec` and the `struct cmsghdr` that it points at, in one piece of memory. */
const layout = { iov: 56, control: 72, controlBytes: 24, data: 96, size: 104 } as const;

/** One byte of data with two descriptors beside it. The pointers are valid for as long as the array lives. */
function messageWith(a: number, b: number): Uint8Array {
  const message = new Uint8Array(new ArrayBuffer(layout.size));
  const at = BigInt(ptr(message));
  const view = new DataView(message.buffer);
  const u64 = (offset: number, value: bigint): void => view.setBigUint64(offset, value, true);
  u64(16, at + BigInt(layout.iov));
  u64(24, 1n);
  u64(32, at + BigInt(layout.control));
  u64(40, BigInt(layout.controlBytes));
  u64(layout.iov, at + BigInt(layout.data));
  u64(layout.iov + 8, 1n);
  u64(layout.control, BigInt(layout.controlBytes));
  [SOL_SOCKET, SCM_RIGHTS, a, b].forEach((n, i) => view.setInt32(layout.control + 8 + 4 * i, n, true));
  return message;
}

/** Closes `fd` without waiting for what the kernel does at its last close. */
export function closeInBackground(fd: Fd): void {
  const pair = new Int32Array(new ArrayBuffer(8));
  const made = tryCall((libc) => libc.socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
  if (typeof made === "string") return fd[Symbol.dispose]();
  using from = new Fd(pair[0] ?? -1);
  using to = new Fd(pair[1] ?? -1);
  // Closed before the other two, after which the collector may come at once: its close has to be the last one.
  using owned = fd;
  const message = messageWith(to.raw, owned.raw);
  tryCall((libc) => Number(libc.sendmsg(from.raw, message, MSG_NOSIGNAL)));
}
