/**
 * What surrounds a plugin when it runs: which other plugins this program contains, whether they may run in this
 * process, and which file this program is. Also the identity of files, which namespaces share.
 */
import { statLink, statPath } from "../sys/files.ts";
import type { Plugin } from "./plugin.ts";

/** Device and inode: two paths with the same pair are the same file, or the same namespace. */
export interface FileId {
  readonly dev: bigint;
  readonly ino: bigint;
}

export interface Host {
  /** The plugin of that type that this program contains. */
  load(type: string): Promise<Plugin | undefined>;
  /** False: every plugin is executed as a process of its own. */
  readonly inProcess: boolean;
  /** True for a plugin of this program that runs here although no file in `CNI_PATH` has its name. Absent: for none. */
  readonly standsIn?: (type: string) => boolean;
  /** The running executable; a plugin found under another name but with this identity is this program. */
  readonly self: FileId | undefined;
}

/** The variables of a process. */
export type Env = Readonly<Record<string, string | undefined>>;

/** The identity of the file behind a path, or undefined if there is none or it cannot be reached. */
export function fileId(path: string): FileId | undefined {
  try {
    const found = statPath(path);
    return found && { dev: found.dev, ino: found.ino };
  } catch {
    return undefined;
  }
}

export const sameFile = (a: FileId | undefined, b: FileId | undefined): boolean =>
  a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;

/** The identity of the running executable. */
export const selfId = (): FileId | undefined => fileId("/proc/self/exe");

/** A host that contains no plugin: every delegate is executed. */
export const emptyHost: Host = { load: async () => undefined, inProcess: false, self: undefined };

/** The identity of a namespace over time: its inode number is given to the next namespace soon after it ends. */
export interface NetnsId extends FileId {
  /**
   * When the kernel made the inode, in nanoseconds. Only for a mounted namespace: behind a link into /proc the
   * kernel makes a new inode whenever it likes.
   */
  readonly changedNs?: bigint;
}

/** The identity of the namespace at a path, or undefined if there is nothing. */
export function netnsId(path: string): NetnsId | undefined {
  try {
    const found = statPath(path);
    if (found === undefined) return undefined;
    const { dev, ino, ctimeNs } = found;
    return statLink(path)?.isLink ? { dev, ino } : { dev, ino, changedNs: ctimeNs };
  } catch {
    return undefined;
  }
}

/** True if both are the same namespace as far as can be told. */
export const sameNetns = (a: NetnsId | undefined, b: NetnsId | undefined): boolean =>
  sameFile(a, b) && (a?.changedNs === undefined || b?.changedNs === undefined || a.changedNs === b.changedNs);
