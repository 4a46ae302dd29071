import { dlopen, FFIType } from "bun:ffi";
import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { cPath, readText } from "./files.ts";
import { inLibc, tryCall } from "./libc.ts";

/**
 * Mounts of the mount namespace that this thread is in (mount(2), umount2(2), open_tree(2), move_mount(2)). For short-lived
 * processes that make or enter a namespace of mounts; failures are `sys/call` with the path.
 */

/** MS_* (linux/mount.h). */
const MS = { BIND: 0x1000, REC: 0x4000, PRIVATE: 1 << 18, SLAVE: 1 << 19, SHARED: 1 << 20 } as const;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** System call numbers that are the same on x86-64 and arm64 (asm-generic/unistd.h). */
const SYS = { OPEN_TREE: 428, MOVE_MOUNT: 429 } as const;
const AT_FDCWD = -100;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

const openSymbols = () => {
  const number = FFIType.i64_fast;
  const buffer = "buffer";
  const { mount, umount2 } = inLibc((file) =>
    dlopen(file, {
      mount: { args: [buffer, buffer, buffer, number, buffer], returns: "i32" },
      umount2: { args: [buffer, "i32"], returns: "i32" },
    }),
  ).symbols;
  // One symbol for each form of syscall(2): fixed and variable arguments of these types are passed alike (see tun.ts).
  const openTree = inLibc((file) =>
    dlopen(file, { syscall: { args: [number, number, buffer, number], returns: number } }),
  ).symbols.syscall;
  const moveMount = inLibc((file) =>
    dlopen(file, {
      syscall: { args: [number, number, buffer, number, buffer, number], returns: number },
    }),
  ).symbols.syscall;
  return { mount, umount2, openTree, moveMount };
};
let symbols: ReturnType<typeof openSymbols> | undefined;

const refuse = (call: string, on: string, errno: string): never => {
  throw new NetError("sys/call", { call, on, errno });
};

function mount(source: string, target: string, kind: string, flags: number, data: string): void {
  const { mount: run } = (symbols ??= openSymbols());
  const [from, to, type, options] = [cPath(source), cPath(target), cPath(kind), cPath(data)];
  const failed = tryCall(() => run(from, to, type, flags, options));
  if (typeof failed === "string") refuse("mount", target, failed);
}

/** Mounts a file system of this kind; `data` are its options, as `mode=755,size=64m`. */
export const mountNew = (kind: "tmpfs" | "sysfs", target: string, data = ""): void =>
  mount(kind, target, kind, 0, data);

/** Shows `source` at `target` too. `recursive`: with all that is mounted below it. */
export const mountBind = (
  source: string,
  target: string,
  { recursive }: { readonly recursive: boolean },
): void => mount(source, target, "", MS.BIND | (recursive ? MS.REC : 0), "");

const propagation = { private: MS.PRIVATE, slave: MS.SLAVE, shared: MS.SHARED } as const;

/**
 * What a mount point has to do with its copies in other namespaces: `shared` ones show each other's mounts, a `slave` sees those
 * of its master and not the other way round, a `private` one neither.
 */
export const setPropagation = (
  target: string,
  kind: keyof typeof propagation,
  { recursive }: { readonly recursive: boolean },
): void => mount("", target, "", propagation[kind] | (recursive ? MS.REC : 0), "");

/**
 * Takes away what is mounted at `target`, with all below it; who still uses something of it keeps that. Returns false if nothing
 * is mounted there, or there is no such path.
 */
export function detachMount(target: string): boolean {
  const { umount2 } = (symbols ??= openSymbols());
  const path = cPath(target);
  const failed = tryCall(() => umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW));
  if (typeof failed !== "string") return true;
  return failed === "EINVAL" || failed === "ENOENT" ? false : refuse("umount", target, failed);
}

/** As `detachMount`, of the mount that a descriptor was opened at: also one that another mount hides. */
export function detachMountAt(fd: number): void {
  const { umount2 } = (symbols ??= openSymbols());
  const path = cPath(`/proc/self/fd/${fd}`);
  const failed = tryCall(() => umount2(path, MNT_DETACH));
  if (typeof failed === "string") refuse("umount", `descriptor ${fd}`, failed);
}

/**
 * A copy of the mount at `path`, with all below it, that is nowhere yet and goes with the descriptor unless it is placed. Of a
 * shared mount it is one of those that show each other's mounts, also when all others here are made slaves meanwhile. Linux 5.2.
 */
export function copyMount(path: string): Fd {
  const { openTree } = (symbols ??= openSymbols());
  const name = cPath(path);
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE;
  const fd = tryCall(() => Number(openTree(SYS.OPEN_TREE, AT_FDCWD, name, flags)));
  return typeof fd === "string" ? refuse("open_tree", path, fd) : new Fd(fd);
}

/** Places a mount of `copyMount`. */
export function placeMount(copy: Fd, target: string): void {
  const { moveMount } = (symbols ??= openSymbols());
  const [empty, to] = [cPath(""), cPath(target)];
  const failed = tryCall(() =>
    Number(moveMount(SYS.MOVE_MOUNT, copy.raw, empty, AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH)),
  );
  if (typeof failed === "string") refuse("move_mount", target, failed);
}

/**
 * Where this thread, or a process, has something mounted, in the order of the mounts and once for each (proc_pid_mountinfo(5)).
 */
export const mountPoints = (of: number | "thread-self" = "thread-self"): readonly string[] =>
  readText(`/proc/${of}/mountinfo`)
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    // Blanks, and what else parts the columns, are written in octal.
    .map((point) =>
      point.replaceAll(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8))),
    );
