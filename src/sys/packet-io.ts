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
/** `struct pollfd`. */
export const POLLFD_BYTES = 8;
/** A descriptor and a wish in each of two `struct pollfd`. */
export const POLL_BYTES = 2 * POLLFD_BYTES;

/** Writes a `struct pollfd` at `at`: what is wished (`POLL`) of a descriptor. One below zero is passed over. */
export function setWish(memory: Pinned, at: number, fd: number, wish: number): void {
  memory.view.setInt32(at, fd, true);
  memory.view.setInt32(at + 4, wish, true);
}

/** After `poll` has returned more than zero: whether the descriptor can do what was wished, or has an error. */
export const isReady = (memory: Pinned, at: number): boolean => memory.view.getInt16(at + 6, true) !== 0;

export interface PacketIo {
  read(fd: number, memory: Pinned, place: number, bytes: number): number;
  writev(fd: number, memory: Pinned, vectors: number, count: number): number;
  /** Sends messages, as many as can be sent at once. */
  sendmmsg(fd: number, memory: Pinned, messages: number, count: number): number;
  recvmmsg(fd: number, memory: Pinned, messages: number, count: number): number;
  /**
   * Waits as poll(2) does for one of `count` structures at `place`, `timeoutMs`, for ever if that is negative. Returns how many
   * are ready; a signal ends the wait early with none.
   */
  poll(memory: Pinned, place: number, count: number, timeoutMs: number): number;
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
    poll(memory, place, count, timeoutMs) {
      return calls.poll(memory.address + place, count, timeoutMs);
    },
    wait(memory, place, fd, wish, other, timeoutMs) {
      setWish(memory, place, fd, wish);
      setWish(memory, place + POLLFD_BYTES, other, POLL.in);
      // A signal ends the wait early, which its caller cannot tell from a packet that somebody else took.
      const ready = calls.poll(memory.address + place, 2, timeoutMs);
      return ready > 0 && isReady(memory, place + POLLFD_BYTES);
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
