import { dlopen, FFIType, type Pointer, read } from "bun:ffi";
import { NetError } from "../errors.ts";
import { errnoName } from "./errno.ts";
import { Fd } from "./fd.ts";
import { call, tryCall } from "./libc.ts";
import type { Pinned } from "./pinned.ts";

/**
 * The calls of a loop that moves packets. They take places in pinned memory, allocate nothing, and return what the
 * system call did: a number of bytes or messages, or a negative error number as the kernel has it.
 */
const i32 = "i32";
const i64 = FFIType.i64_fast;

const openAs = (file: string) =>
  dlopen(file, {
    __errno_location: { args: [], returns: FFIType.ptr },
    read: { args: [i32, i64, i64], returns: i64 },
    writev: { args: [i32, i64, i32], returns: i64 },
    sendmmsg: { args: [i32, i64, i32, i32], returns: i32 },
    recvmmsg: { args: [i32, i64, i32, i32, i64], returns: i32 },
    poll: { args: [i64, i64, i32], returns: i32 },
    eventfd: { args: [i32, i32], returns: i32 },
  }).symbols;

type Calls = ReturnType<typeof openAs>;

/** Error numbers that the loops go by (asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EINVAL: 22,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
} as const;

export const POLL = { in: 1, out: 4 } as const;
/** MSG_DONTWAIT and MSG_NOSIGNAL; MSG_DONTWAIT and MSG_CMSG_CLOEXEC. */
const SEND_FLAGS = 0x4040;
const RECEIVE_FLAGS = 0x4000_0040;
const POLLFD_BYTES = 8;
/** A descriptor and a wish in each of two `struct pollfd`. */
export const POLL_BYTES = 2 * POLLFD_BYTES;

export interface PacketIo {
  read(fd: number, memory: Pinned, place: number, bytes: number): number;
  writev(fd: number, memory: Pinned, vectors: number, count: number): number;
  /** Sends messages, as many as can be sent at once. */
  sendmmsg(fd: number, memory: Pinned, messages: number, count: number): number;
  recvmmsg(fd: number, memory: Pinned, messages: number, count: number): number;
  /**
   * Waits until `fd` can do what is wished (`POLL`), or has an error, or `other` can be read (none if negative), or for
   * `timeoutMs`, for ever if negative. The structures are written at `place`. Returns true if `other` can be read.
   */
  wait(memory: Pinned, place: number, fd: number, wish: number, other: number, timeoutMs: number): boolean;
}

let loaded: { readonly calls: Calls; readonly errno: Pointer } | undefined;

function load(): { readonly calls: Calls; readonly errno: Pointer } {
  if (loaded !== undefined) return loaded;
  const calls = open();
  // The address belongs to this thread for as long as it lives.
  loaded = { calls, errno: calls.__errno_location() as Pointer };
  return loaded;
}

function open(): Calls {
  try {
    return openAs("libc.so.6");
  } catch {
    return openAs(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`);
  }
}

/** The calls for the thread that asks for them. */
export function packetIo(): PacketIo {
  const { calls, errno } = load();
  const failure = (): number => -read.i32(errno, 0);
  const again = -ERRNO.EINTR;
  return {
    read(fd, memory, place, bytes) {
      for (;;) {
        const got = calls.read(fd, memory.address + place, bytes) as number;
        if (got >= 0) return got;
        const failed = failure();
        if (failed !== again) return failed;
      }
    },
    writev(fd, memory, vectors, count) {
      for (;;) {
        const got = calls.writev(fd, memory.address + vectors, count) as number;
        if (got >= 0) return got;
        const failed = failure();
        if (failed !== again) return failed;
      }
    },
    sendmmsg(fd, memory, messages, count) {
      for (;;) {
        const got = calls.sendmmsg(fd, memory.address + messages, count, SEND_FLAGS);
        if (got >= 0) return got;
        const failed = failure();
        if (failed !== again) return failed;
      }
    },
    recvmmsg(fd, memory, messages, count) {
      for (;;) {
        const got = calls.recvmmsg(fd, memory.address + messages, count, RECEIVE_FLAGS, 0);
        if (got >= 0) return got;
        const failed = failure();
        if (failed !== again) return failed;
      }
    },
    wait(memory, place, fd, wish, other, timeoutMs) {
      const { view } = memory;
      view.setInt32(place, fd, true);
      view.setInt32(place + 4, wish, true);
      view.setInt32(place + POLLFD_BYTES, other, true);
      view.setInt32(place + POLLFD_BYTES + 4, POLL.in, true);
      // A signal ends the wait early, which its caller cannot tell from a packet that somebody else took.
      const ready = calls.poll(memory.address + place, 2, timeoutMs);
      return ready > 0 && view.getInt16(place + POLLFD_BYTES + 6, true) !== 0;
    },
  };
}

/** What a result of these calls is called, if it is an error. */
export const failureName = (result: number): string => errnoName(-result);

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/** A descriptor that can be read after `wake`, until `calm` (eventfd(2)): it ends a wait in another thread. */
export function openWaker(): Fd {
  const { calls, errno } = load();
  const fd = calls.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd >= 0) return new Fd(fd);
  throw new NetError("sys/call", { call: "eventfd", on: "a waker", errno: errnoName(read.i32(errno, 0)) });
}

export function wake(fd: number): void {
  const one = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
  call("write", "a waker", (libc) => Number(libc.write(fd, one, one)));
}

export function calm(fd: number): void {
  const count = new BigUint64Array(new ArrayBuffer(8));
  // Nobody woke it, or it was read already.
  tryCall((libc) => Number(libc.read(fd, count, count)));
}
