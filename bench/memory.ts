/**
 * Memory of programs that live for milliseconds. `getrusage` of a child says at least what its parent had when it was
 * started (the kernel keeps the high-water mark through vfork and exec), so a small program cannot be measured by a
 * larger one that way. Instead strace holds the program back at its exit for a moment, and its own high-water mark is
 * read there; several at once are added up by their proportional share, read again and again while they run.
 */
import { readFileSync } from "node:fs";
import { type Call, runBeside } from "./neutral-runtime.ts";

/** How long a program is held at its exit. Every exit shall be seen, so this is many looks long. */
const HELD_MS = 40;
const LOOK_MS = 4;

/** The largest resident set that the program itself has had, in megabytes (10^6), and what it printed. */
export async function peakOf(call: Call): Promise<{ readonly megabytes: number; readonly stdout: string }> {
  const hold = ["-e", "trace=exit_group", "-e", `inject=exit_group:delay_enter=${HELD_MS * 1000}`];
  const argv = ["strace", "-qq", "-o", "/dev/null", ...hold, ...call.argv];
  let strace: number | undefined;
  let peak = 0;
  const look = setInterval(() => {
    if (strace === undefined) return;
    for (const pid of childrenOf(strace)) peak = Math.max(peak, highWater(pid));
  }, LOOK_MS);
  try {
    const stdout = await runBeside({ ...call, argv }, (pid) => (strace = pid));
    if (peak === 0) throw new Error(`${call.argv[0]} ended before its memory was seen`);
    return { megabytes: peak, stdout };
  } finally {
    clearInterval(look);
  }
}

/** Adds up the proportional set size of every process below the given ones, as long as it is not stopped. */
export function sampleTotal(pids: () => Iterable<number>): { stop(): number } {
  let most = 0;
  const look = setInterval(() => {
    let total = 0;
    for (const pid of pids()) for (const each of familyOf(pid)) total += proportional(each);
    most = Math.max(most, total);
  }, 1);
  return {
    stop() {
      clearInterval(look);
      return most;
    },
  };
}

/** A file of a process that may have ended; then it is empty. */
function proc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

const childrenOf = (pid: number): readonly number[] =>
  proc(pid, `task/${pid}/children`)
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);

/** A process and everything it started, as far as it is its own parent's first thread that starts. */
function* familyOf(pid: number): Generator<number> {
  yield pid;
  for (const child of childrenOf(pid)) yield* familyOf(child);
}

const megabytesIn = (text: string, key: string): number =>
  Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1.024e-3;
const highWater = (pid: number): number => megabytesIn(proc(pid, "status"), "VmHWM");
const proportional = (pid: number): number => megabytesIn(proc(pid, "smaps_rollup"), "Pss");
