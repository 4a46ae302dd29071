import { dlopen, FFIType, ptr } from "bun:ffi";
import { NetError } from "../errors.ts";
import { inLibc, tryCall } from "./libc.ts";

/**
 * What a short-lived process may do to itself: get namespaces of its own, enter others for good, and become another program.
 * All of it is of the calling thread alone, the main one; execve(2) ends the engine's other threads.
 */

/** CLONE_* (linux/sched.h). */
const CLONE = { FS: 0x200, mnt: 0x20000, uts: 0x4000000, net: 0x40000000 } as const;
export type NamespaceKind = "mnt" | "uts" | "net";

const openSymbols = () => {
  const number = FFIType.i64_fast;
  return inLibc((file) =>
    dlopen(file, {
      unshare: { args: ["i32"], returns: "i32" },
      setns: { args: ["i32", "i32"], returns: "i32" },
      sethostname: { args: ["buffer", "buffer_length"], returns: "i32" },
      prctl: { args: ["i32", number], returns: "i32" },
      signal: { args: ["i32", number], returns: number },
      execve: { args: ["buffer", FFIType.ptr, FFIType.ptr], returns: "i32" },
    }),
  ).symbols;
};
let symbols: ReturnType<typeof openSymbols> | undefined;
const libc = () => (symbols ??= openSymbols());

function must(call: string, on: string, run: () => number): void {
  const failed = tryCall(run);
  if (typeof failed === "string") throw new NetError("sys/call", { call, on, errno: failed });
}

/** Where this thread's own namespace of a kind is. */
export const ownNamespace = (kind: NamespaceKind): string => `/proc/thread-self/ns/${kind}`;

/** Gives this thread new namespaces of these kinds; new mounts begin as a copy of the ones before. */
export function leaveFor(...kinds: readonly NamespaceKind[]): void {
  // Threads share a root directory, and who shares it can have no mounts of his own.
  const flags = kinds.reduce<number>((all, kind) => all | CLONE[kind], CLONE.FS);
  must("unshare", kinds.join(", "), () => libc().unshare(flags));
}

/** Enters a namespace by its descriptor and stays there. */
export function enterForGood(kind: NamespaceKind, fd: number): void {
  if (kind === "mnt") must("unshare", "the root directory", () => libc().unshare(CLONE.FS));
  must("setns", kind, () => libc().setns(fd, CLONE[kind]));
}

/** The name of the host, in the namespace that this thread is in. */
export function setHostName(name: string): void {
  const bytes = new TextEncoder().encode(name);
  must("sethostname", name, () => libc().sethostname(bytes, bytes));
}

/** PR_SET_PDEATHSIG (linux/prctl.h) and SIGKILL. */
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/** This process ends when its parent does, however that ends. `parent` is its number; false if it has ended already. */
export function endWithParent(parent: number): boolean {
  must("prctl", "PR_SET_PDEATHSIG", () => libc().prctl(PR_SET_PDEATHSIG, SIGKILL));
  return process.ppid === parent;
}

/** Signals that the engine ignores (SIGPIPE, SIGXFSZ): they would stay ignored in the program that this one becomes. */
const IGNORED = [13, 25] as const;
const SIG_DFL = 0;

/** The memory that the kernel reads by its address: what only a local name holds may be collected before the call ends. */
let image: Uint8Array | undefined;

/**
 * Turns this process into another program: same number, same parent, terminal and descriptors; those that are marked to be
 * closed are closed, and handlers of signals are gone. Returns only by throwing.
 * @throws sys/call ENOENT, EACCES, ENOEXEC, …
 */
export function execute(
  file: string,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): never {
  const variables = Object.entries(env).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${value}`],
  );
  if ([file, ...argv, ...variables].some((word) => word.includes("\0")))
    throw new NetError("sys/call", { call: "execve", on: file, errno: "EINVAL" });
  for (const signal of IGNORED) libc().signal(signal, SIG_DFL);
  const encoder = new TextEncoder();
  const name = encoder.encode(`${file}\0`);
  const words = [...argv, ...variables].map((word) => encoder.encode(`${word}\0`));
  // Two lists of addresses with a zero at the end, then the words themselves.
  const lists = (words.length + 2) * 8;
  const memory = new Uint8Array(new ArrayBuffer(lists + words.reduce((sum, word) => sum + word.length, 0)));
  image = memory;
  const view = new DataView(memory.buffer);
  const address = ptr(memory);
  let at = lists;
  words.forEach((word, i) => {
    const slot = i < argv.length ? i : i + 1;
    view.setBigUint64(slot * 8, BigInt(address) + BigInt(at), true);
    memory.set(word, at);
    at += word.length;
  });
  const environment = ptr(image, (argv.length + 1) * 8);
  must("execve", file, () => libc().execve(name, address, environment));
  throw new TypeError("execve(2) returns only when it fails");
}
