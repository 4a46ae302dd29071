/**
 * What surrounds a plugin when it runs: which other plugins this program contains, whether they may run in this
 * process, and which file this program is. Also the identity of files, which namespaces share.
 */
import { statSync } from "node:fs";
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
  /** The running executable; a plugin found under another name but with this identity is this program. */
  readonly self: FileId | undefined;
}

/** The variables of a process. */
export type Env = Readonly<Record<string, string | undefined>>;

/** The identity of the file behind a path, or undefined if there is none or it cannot be reached. */
export function fileId(path: string): FileId | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return { dev, ino };
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
