/** A process with all that it has started: a group of processes, known by the number and the start of its first one. */
import { errnoOf } from "../../sys/files.ts";
import { processStat } from "../../sys/process-stat.ts";

export interface ProcessGroup {
  readonly pid: number;
  /** When its first process was started, in the kernel's ticks since its own start: numbers are used again. */
  readonly start: string;
}

/** The group of a process that leads one. */
export const groupOf = (pid: number): ProcessGroup => ({ pid, start: processStat(pid)?.start ?? "" });

/** Ends it if its first process is still there. */
export function endGroup({ pid, start }: ProcessGroup): void {
  if (start === "" || processStat(pid)?.start !== start) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (e) {
    // It has ended meanwhile, or has become somebody whom the agent may not end.
    if (!["ESRCH", "EPERM"].includes(errnoOf(e) ?? "")) throw e;
  }
}
