/** Finding processes of a ground from outside, to end them at a moment that nobody expects. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Ground } from "../runtimes/ground.ts";

export interface Found {
  /** As the machine counts. */
  readonly pid: number;
  /** Its command line, and behind it its environment. */
  readonly words: string;
}

/** A process that was just forked has not become another program yet. */
const YOUNG_MS = 50;
const LOOK_MS = 3;

const pids = (): readonly string[] => readdirSync("/proc").filter((name) => /^\d+$/.test(name));

function look(pid: string, space: string): Found | undefined {
  try {
    if (readlinkSync(`/proc/${pid}/ns/pid`) !== space) return undefined;
    const text = (name: string): string => readFileSync(`/proc/${pid}/${name}`, "utf8").replaceAll("\0", " ");
    return { pid: Number(pid), words: `${text("cmdline")}\n${text("environ")}` };
  } catch {
    return undefined; // It has just ended.
  }
}

const spaceOf = (on: Ground): string => readlinkSync(`/proc/${on.pid}/ns/pid`);

/** A process of the ground that runs now. */
export function running(on: Ground, fits: (words: string) => boolean): Found | undefined {
  const space = spaceOf(on);
  for (const pid of pids()) {
    const found = look(pid, space);
    if (found !== undefined && fits(found.words)) return found;
  }
  return undefined;
}

/** The first process of the ground that begins from now on; undefined if none does in this time. */
export async function beginning(
  on: Ground,
  fits: (words: string) => boolean,
  withinMs: number,
): Promise<Found | undefined> {
  const space = spaceOf(on);
  const old = new Set(pids());
  const young = new Map<string, number>();
  for (const deadline = performance.now() + withinMs; performance.now() < deadline; await Bun.sleep(LOOK_MS))
    for (const pid of pids()) {
      if (old.has(pid)) continue;
      const found = look(pid, space);
      if (found !== undefined && fits(found.words)) return found;
      const since = young.get(pid) ?? performance.now();
      young.set(pid, since);
      if (performance.now() - since > YOUNG_MS) old.add(pid);
    }
  return undefined;
}

/** False if it had ended by itself. */
export function killNow({ pid }: Found): boolean {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}
