/**
 * Every change that `host-local` makes to the file system, as one small table of functions, so that a test can stop
 * the program before or after any of them. Nothing is synced: a container does not outlive a power loss.
 */
import { appendFileSync, linkSync, mkdirSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { NetError } from "../../../errors.ts";

export interface Files {
  /** Makes a directory and those above it, mode 0755; one that exists is left alone. */
  readonly makeDir: (path: string) => void;
  /** Makes a new file, mode 0600; EEXIST if there is one. */
  readonly create: (path: string, text: string) => void;
  /** Writes a file from its beginning, in place; makes it with mode 0600 if it is missing. */
  readonly write: (path: string, text: string) => void;
  readonly append: (path: string, text: string) => void;
  /** A second name for a file; EEXIST if the name is taken. */
  readonly link: (from: string, to: string) => void;
  readonly unlink: (path: string) => void;
  /** Sets the modification time, in seconds since 1970. */
  readonly setTime: (path: string, seconds: number) => void;
}

export const realFiles: Files = {
  makeDir: (path) => void mkdirSync(path, { recursive: true, mode: 0o755 }),
  create: (path, text) => writeFileSync(path, text, { flag: "wx", mode: 0o600 }),
  write: (path, text) => writeFileSync(path, text, { mode: 0o600 }),
  append: (path, text) => appendFileSync(path, text),
  link: linkSync,
  unlink: unlinkSync,
  setTime: (path, seconds) => utimesSync(path, seconds, seconds),
};

const hasCode = (e: unknown): e is NodeJS.ErrnoException =>
  e instanceof Error && "code" in e && typeof e.code === "string" && !(e instanceof NetError);

/** The errno name of a failed file operation, for example `ENOENT`; undefined for any other error. */
export const errnoOf = (e: unknown): string | undefined => (hasCode(e) ? e.code : undefined);

/** What `action` returns, or undefined if it fails with this errno. */
export function unless<T>(errno: string, action: () => T): T | undefined {
  try {
    return action();
  } catch (e) {
    if (errnoOf(e) === errno) return undefined;
    throw e;
  }
}

/** A failed file operation as `sys/call`; anything else as it is. */
export const asNetError = (e: unknown): unknown =>
  hasCode(e)
    ? new NetError(
        "sys/call",
        { call: e.syscall ?? "file", on: e.path ?? "", errno: e.code ?? "EIO" },
        { cause: e },
      )
    : e;
