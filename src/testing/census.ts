/**
 * Counts what a piece of code must not leave behind in its process: open descriptors, and threads in a namespace that is
 * not the process's own (one such thread keeps a dead container's namespace alive).
 */
import { readdirSync, readlinkSync } from "node:fs";

/** The open descriptors of this process: number to what it refers to, for example `socket:[4711]`. */
export function openDescriptors(): ReadonlyMap<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    const target = linkTarget(`/proc/self/fd/${name}`);
    // The directory that is being read is itself open for that moment.
    if (target !== undefined && !/^\/proc\/\d+\/fd$/.test(target)) found.set(Number(name), target);
  }
  return found;
}

/** Threads of this process that are in another network namespace than its main thread. */
export function strayThreads(): readonly string[] {
  const home = readlinkSync("/proc/self/ns/net");
  return readdirSync("/proc/self/task").filter((id) => {
    const there = linkTarget(`/proc/self/task/${id}/ns/net`);
    return there !== undefined && there !== home;
  });
}

/**
 * Throws at the end of its block if a descriptor is open that was not at the start, or a thread is in a strange
 * namespace. Bind it with `using` before what is to be watched, and warm up first what opens descriptors once.
 */
export function descriptorCensus(): Disposable {
  const before = openDescriptors();
  return {
    [Symbol.dispose]: () => {
      const left = [...openDescriptors()].filter(([fd, target]) => before.get(fd) !== target);
      const strays = strayThreads();
      if (left.length > 0)
        throw new Error(
          `descriptors left open: ${left.map(([fd, target]) => `${fd} -> ${target}`).join(", ")}`,
        );
      if (strays.length > 0) throw new Error(`threads in a strange namespace: ${strays.join(", ")}`);
    },
  };
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // Closed, or ended, since it was listed.
  }
}
