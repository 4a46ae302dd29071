import { dlopen, FFIType, type Pointer, read } from "bun:ffi";
import { NetError } from "../errors.ts";
import { errnoName } from "./errno.ts";

/**
 * The system calls that Bun has no function for, each declared once with the narrowest types. This folder alone
 * imports `bun:ffi`; decision record 1 says why, and what would replace it.
 */
const i32 = "i32";
const buffer = "buffer";
/** The byte length of the array before it: the engine reads both off the same object. */
const length = "buffer_length";
const i64 = FFIType.i64_fast;

const openAs = (file: string) =>
  dlopen(file, {
    __errno_location: { args: [], returns: FFIType.ptr },
    socket: { args: [i32, i32, i32], returns: i32 },
    bind: { args: [i32, buffer, length], returns: i32 },
    socketpair: { args: [i32, i32, i32, buffer], returns: i32 },
    connect: { args: [i32, buffer, length], returns: i32 },
    listen: { args: [i32, i32], returns: i32 },
    accept4: { args: [i32, FFIType.ptr, FFIType.ptr, i32], returns: i32 },
    fcntl: { args: [i32, i32, i64], returns: i32 },
    poll: { args: [buffer, i64, i32], returns: i32 },
    fsync: { args: [i32], returns: i32 },
    sendto: { args: [i32, buffer, length, i32, buffer, length], returns: i64 },
    sendmsg: { args: [i32, buffer, i32], returns: i64 },
    recvfrom: { args: [i32, buffer, length, i32, buffer, buffer], returns: i64 },
    setsockopt: { args: [i32, i32, i32, buffer, length], returns: i32 },
    getsockopt: { args: [i32, i32, i32, buffer, buffer], returns: i32 },
    close: { args: [i32], returns: i32 },
    setns: { args: [i32, i32], returns: i32 },
    fstatfs: { args: [i32, buffer], returns: i32 },
    flock: { args: [i32, i32], returns: i32 },
    open: { args: [buffer, i32, i32], returns: i32 },
    read: { args: [i32, buffer, length], returns: i64 },
    write: { args: [i32, buffer, length], returns: i64 },
    statx: { args: [i32, buffer, i32, i32, buffer], returns: i32 },
    ftruncate: { args: [i32, i64], returns: i32 },
    unlink: { args: [buffer], returns: i32 },
    rename: { args: [buffer, buffer], returns: i32 },
    link: { args: [buffer, buffer], returns: i32 },
    mkdir: { args: [buffer, i32], returns: i32 },
    utimensat: { args: [i32, buffer, buffer, i32], returns: i32 },
    syscall: { args: [i64, i64, buffer, i64], returns: i64 },
  }).symbols;

/**
 * Opens functions of the C library, also those that a caller declares itself: that take arguments of several forms, or that
 * few processes need. By glibc's file name, and where that is not there by musl's, which has the machine in it.
 */
export function inLibc<T>(openAs: (file: string) => T): T {
  if (process.platform !== "linux") return openAs("");
  try {
    return openAs("libc.so.6");
  } catch {
    return openAs(`libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`);
  }
}

const open = (): ReturnType<typeof openAs> => inLibc(openAs);

type Libc = ReturnType<typeof open>;
let loaded: { libc: Libc; errno: Pointer } | undefined;

function load(): { libc: Libc; errno: Pointer } {
  if (loaded === undefined) {
    const libc = open();
    // The address belongs to this thread for as long as it lives (glibc and musl alike).
    loaded = { libc, errno: libc.__errno_location() as Pointer };
  }
  return loaded;
}

/**
 * Runs one system call, again if a signal interrupted it. Returns what it returned, or the name of the error.
 * errno is read at once after the call; nothing of the engine runs between.
 */
export function tryCall(call: (libc: Libc) => number): number | string {
  const { libc, errno } = load();
  for (;;) {
    const result = call(libc);
    if (result >= 0) return result;
    const name = errnoName(read.i32(errno, 0));
    if (name !== "EINTR") return name;
  }
}

/** As `tryCall`, but an error is thrown as `sys/call` with the call's name and what it was done to. */
export function call(name: string, on: string, run: (libc: Libc) => number): number {
  const result = tryCall(run);
  if (typeof result === "string") throw new NetError("sys/call", { call: name, on, errno: result });
  return result;
}
