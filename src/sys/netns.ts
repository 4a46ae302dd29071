import { NetError } from "../errors.ts";
import type { Fd } from "./fd.ts";
import { errnoOf, O, openFile, statFd } from "./files.ts";
import { tryCall } from "./libc.ts";

/**
 * Network namespaces. A short-lived process may enter one with `inNetns`; a long-running process never does, since
 * the engine's own threads could be left behind in it and keep it alive: it starts itself as a child.
 */
export interface Netns extends Disposable {
  readonly fd: number;
  readonly path: string;
  /** Device and inode together name a live namespace; both are used again after it is gone. */
  readonly dev: number;
  readonly ino: number;
}

/** NSFS_MAGIC and PROC_SUPER_MAGIC (linux/magic.h); kernels before 3.19 show namespaces as files of procfs. */
const MAGIC = [0x6e736673, 0x9fa0];
/** CLONE_NEWNET (linux/sched.h). */
const CLONE_NEWNET = 0x40000000;

/** Opens a namespace by its path. Throws `netns/invalid` if there is none, or something else is there. */
export function openNetns(path: string): Netns {
  const opened = open(path);
  if ("fd" in opened) return opened;
  const { why, cause } = opened;
  throw new NetError("netns/invalid", { path, why }, cause === undefined ? {} : { cause });
}

/** As `openNetns`, but undefined if there is no namespace: nothing, or the file that one was mounted on. */
export function tryOpenNetns(path: string): Netns | undefined {
  const opened = open(path);
  if ("fd" in opened) return opened;
  const { why, cause } = opened;
  if (cause === undefined || ["ENOENT", "ENOTDIR"].includes(errnoOf(cause) ?? "")) return undefined;
  throw new NetError("netns/invalid", { path, why }, { cause });
}

/** `cause` is absent if something else than a namespace was opened. */
interface NotOpened {
  readonly why: string;
  readonly cause?: unknown;
}

function open(path: string): Netns | NotOpened {
  let fd: Fd;
  try {
    // The path comes from outside: opening a FIFO would wait for somebody who writes to it.
    fd = openFile(path, O.RDONLY | O.NONBLOCK);
  } catch (cause) {
    const code = errnoOf(cause) ?? "EIO";
    const why = code === "ENOENT" ? "there is no such network namespace" : `cannot be opened (${code})`;
    return { why, cause };
  }
  const statfs = new Uint8Array(new ArrayBuffer(256));
  const failed = tryCall((libc) => libc.fstatfs(fd.raw, statfs));
  const magic = new DataView(statfs.buffer).getUint32(0, true);
  if (typeof failed === "string" || !MAGIC.includes(magic)) {
    fd[Symbol.dispose]();
    return { why: "is not a network namespace" };
  }
  const { dev, ino } = statFd(fd.raw);
  return {
    get fd() {
      return fd.raw;
    },
    path,
    dev: Number(dev),
    ino: Number(ino),
    [Symbol.dispose]: () => fd[Symbol.dispose](),
  };
}

let inside = false;
/** Why this process must not enter a namespace. */
let outside: string | undefined;

/** From now on `inNetns` refuses, saying why: for a process that may live on. */
export const stayOutside = (why: string): void => void (outside = why);

/** Takes back `stayOutside`: this process ends soon. */
export const enterAgain = (): void => void (outside = undefined);

/**
 * Runs `work` with this thread inside the namespace and comes back. `work` must be synchronous and must start no
 * thread: no asynchronous file call, no child process. A process that cannot come back ends at once.
 */
export function inNetns<T>(netns: Pick<Netns, "fd" | "path">, work: () => T): T {
  if (inside) throw new TypeError("inNetns does not nest");
  if (outside !== undefined) throw new TypeError(`a namespace is not entered: ${outside}`);
  using home = openFile("/proc/self/ns/net", O.RDONLY);
  const entered = tryCall((libc) => libc.setns(netns.fd, CLONE_NEWNET));
  if (typeof entered === "string")
    throw new NetError("netns/invalid", {
      path: netns.path,
      why: entered === "EINVAL" ? "is not a network namespace" : `cannot be entered (${entered})`,
    });
  inside = true;
  try {
    return work();
  } finally {
    // Going on, and be it to take something back, would change a stranger's network.
    if (typeof tryCall((libc) => libc.setns(home.raw, CLONE_NEWNET)) === "string") process.abort();
    inside = false;
  }
}
