/**
 * Processes of a lab: found by the namespaces that they are in, or by the number and start that were written down, and ended
 * by descriptors, so that nobody else is ever met.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { processStat } from "../sys/process-stat.ts";
import { openProcess, type SignalName, signalProcess } from "../sys/processes.ts";
import type { ProcessId } from "./model.ts";
import type { LabPaths } from "./paths.ts";

/** This process. */
export const self = (): ProcessId => ({ pid: process.pid, start: processStat("self")?.start ?? "" });

/** A process that was started just now. */
export const processId = (pid: number): ProcessId => ({ pid, start: processStat(pid)?.start ?? "" });

/** What it does: undefined if it has ended, also if its parent does not know yet. */
export function stateOf({ pid, start }: ProcessId): "running" | "stopped" | undefined {
  const found = processStat(pid);
  if (found === undefined || found.start !== start || found.state === "Z" || found.state === "X")
    return undefined;
  return found.state === "T" || found.state === "t" ? "stopped" : "running";
}

/** Sends a signal to exactly this process; false if it has ended. */
export function signal(id: ProcessId, name: SignalName): boolean {
  using opened = openProcess(id.pid);
  // The descriptor holds one process; it is ours if the number still means what it meant.
  return opened !== undefined && stateOf(id) !== undefined && signalProcess(opened, name);
}

/** `net:[4026531833]`, as /proc shows namespaces. */
type NamespaceName = string;
const KINDS = ["mnt", "net", "uts"] as const;

/** The pinned namespaces of a lab by their names, each with the host that it belongs to. */
export function namespacesOf(paths: LabPaths): ReadonlyMap<NamespaceName, string> {
  const found = new Map<NamespaceName, string>();
  const device = statSync("/proc/self/ns/net").dev;
  const add = (kind: (typeof KINDS)[number], file: string, host: string): void => {
    const stat = existsSync(file) ? statSync(file) : undefined;
    // A file of the lab itself is one that nothing was pinned on.
    if (stat !== undefined && stat.dev === device) found.set(`${kind}:[${stat.ino}]`, host);
  };
  for (const host of hostsIn(paths)) {
    const { mnt, net, uts, netns } = paths.host(host);
    add("mnt", mnt, host);
    add("net", net, host);
    add("uts", uts, host);
    for (const name of namesIn(netns)) add("net", `${netns}/${name}`, host);
  }
  return found;
}

export const namesIn = (directory: string): readonly string[] =>
  existsSync(directory) ? readdirSync(directory).toSorted() : [];

/** The hosts that there are directories of, whatever the state file says. */
const hostsIn = (paths: LabPaths): readonly string[] =>
  namesIn(paths.dir).filter((name) => existsSync(paths.host(name).netns));

export interface Found {
  readonly id: ProcessId;
  readonly host: string;
  /** The name of its program, as `ps` shows it. */
  readonly program: string;
}

/** Every process that is in one of these namespaces, but this one. */
export function processesIn(namespaces: ReadonlyMap<NamespaceName, string>): readonly Found[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((name) => {
    const pid = Number(name);
    const host = hostOf(pid, namespaces);
    const start = host === undefined || pid === process.pid ? undefined : processStat(pid)?.start;
    return host === undefined || start === undefined
      ? []
      : [{ id: { pid, start }, host, program: programOf(pid) }];
  });
}

function hostOf(pid: number, namespaces: ReadonlyMap<NamespaceName, string>): string | undefined {
  for (const kind of KINDS)
    try {
      const host = namespaces.get(readlinkSync(`/proc/${pid}/ns/${kind}`));
      if (host !== undefined) return host;
    } catch {
      return undefined; // It has ended, or is one of the kernel's.
    }
  return undefined;
}

const programOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
};
