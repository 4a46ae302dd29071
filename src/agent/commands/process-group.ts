/** A process with all that it has started: a group of processes, known by the number and the start of its first one. */
import { readFileSync } from "node:fs";
import { errnoOf, unlessErrno } from "../../sys/files.ts";

export interface ProcessGroup {
  readonly pid: number;
  /** When its first process was started, in the kernel's ticks since its own start: numbers are used again. */
  readonly start: string;
}

/** The group of a process that leads one. */
export const groupOf = (pid: number): ProcessGroup => ({ pid, start: startOf(pid) ?? "" });

/** Undefined if there is no such process. */
function startOf(pid: number): string | undefined {
  const stat = unlessErrno(["ENOENT", "ESRCH"], () => readFileSync(`/proc/${pid}/stat`, "utf8"));
  // The name in parentheses may have blanks and parentheses itself (proc_pid_stat(5)).
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

/** Ends it if its first process is still there. */
export function endGroup({ pid, start }: ProcessGroup): void {
  if (start === "" || startOf(pid) !== start) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (e) {
    // It has ended meanwhile, or has become somebody whom the agent may not end.
    if (!["ESRCH", "EPERM"].includes(errnoOf(e) ?? "")) throw e;
  }
}
