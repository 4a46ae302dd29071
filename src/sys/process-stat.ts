/** What the kernel tells of a process in one line (proc_pid_stat(5)). */
import { readText, unlessErrno } from "./files.ts";

export interface ProcessStat {
  /** R, S, D, T, t, Z, X, … */
  readonly state: string;
  /** When it was started, in the kernel's ticks since its own start: with it a number means one process only. */
  readonly start: string;
}

/** The third field, and the twenty-second. */
export function parseProcessStat(line: string): ProcessStat {
  // The name in parentheses may have blanks and parentheses itself.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", start: fields[19] ?? "" };
}

/** Undefined if there is no such process. */
export function processStat(pid: number | "self"): ProcessStat | undefined {
  const line = unlessErrno(["ENOENT", "ESRCH"], () => readText(`/proc/${pid}/stat`));
  return line === undefined ? undefined : parseProcessStat(line);
}
