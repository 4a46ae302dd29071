/**
 * Every change that `host-local` makes to the file system, as one small table of functions, so that a test can stop
 * the program before or after any of them. Nothing is synced: a container does not outlive a power loss. No link at a
 * file's name is followed.
 */
import { linkFile, makeDirs, O, putText, removeFile, setModified, unlessErrno } from "../../../sys/files.ts";

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
  makeDir: (path) => makeDirs(path, 0o755),
  create: (path, text) => putText(path, text, O.CREAT | O.EXCL),
  write: (path, text) => putText(path, text, O.CREAT | O.TRUNC | O.NOFOLLOW),
  append: (path, text) => putText(path, text, O.CREAT | O.APPEND | O.NOFOLLOW),
  link: linkFile,
  unlink: removeFile,
  setTime: setModified,
};

/** What `action` returns, or undefined if it fails with this errno. */
export const unless = <T>(errno: string, action: () => T): T | undefined => unlessErrno([errno], action);
