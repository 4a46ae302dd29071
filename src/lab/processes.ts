/**
 * Programs in hosts: run to their end, or started to stay until they are killed or the lab goes. Each begins as this executable,
 * which goes into the host and becomes the program, so that its number, its signals and its exit code are the program's own.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { decodeAs, list, object, parseJson, required, text } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { ENTER_COMMAND } from "./enter.ts";
import { namesIn, processId, signal, stateOf } from "./ids.ts";
import { type ProcessId, readProcessId } from "./model.ts";
import { labPaths } from "./paths.ts";

/** Where programs are started: a lab, and how this program is started again (its words before the command). */
export interface LabRunner {
  readonly lab: string;
  readonly program: readonly string[];
}

const entering = ({ lab, program }: LabRunner, place: string, argv: readonly string[]): string[] => [
  ...program,
  ENTER_COMMAND,
  lab,
  place,
  ...argv,
];

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
/** What `runIn` waits for unless told. */
const LIMIT_MS = 30_000;

/** Runs a program in a place (`host1`, `host1/web`) to its end, killed after `timeoutMs`. */
export async function runIn(
  runner: LabRunner,
  place: string,
  argv: readonly string[],
  { stdin = "", timeoutMs = LIMIT_MS }: { readonly stdin?: string; readonly timeoutMs?: number } = {},
): Promise<Ran> {
  const child = Bun.spawn(entering(runner, place, argv), {
    argv0: "heddle",
    stdin: Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** A program that was started to stay. */
export interface Started {
  readonly name: string;
  readonly argv: readonly string[];
  readonly id: ProcessId;
}
const readStarted = object({
  name: required(text),
  argv: required(list(text)),
  id: required(readProcessId),
});

const filesOf = (lab: string, host: string, name: string) => {
  const { processes } = labPaths(lab).host(host);
  return { record: `${processes}/${name}.json`, log: `${processes}/${name}.log` };
};

/** Where what a program prints is kept. */
export const logOf = (lab: string, host: string, name: string): string => filesOf(lab, host, name).log;

/**
 * Starts a program in a host, in a session of its own. What it prints goes behind what is in its log.
 * @throws usage/invalid if one of that name runs there
 */
export function startProcess(
  runner: LabRunner,
  host: string,
  name: string,
  argv: readonly string[],
): Started {
  const { record, log } = filesOf(runner.lab, host, name);
  if (findProcess(runner.lab, host, name)?.state !== undefined)
    throw new NetError("usage/invalid", { why: `"${name}" runs in ${host} already` });
  const output = openSync(log, "a");
  try {
    const child = Bun.spawn(entering(runner, host, argv), {
      argv0: "heddle",
      cwd: "/",
      stdin: "ignore",
      stdout: output,
      stderr: output,
      detached: true,
    });
    child.unref();
    const started = { name, argv, id: processId(child.pid) };
    writeFileSync(`${record}.new`, JSON.stringify(started));
    renameSync(`${record}.new`, record);
    return started;
  } finally {
    closeSync(output);
  }
}

export interface Seen extends Started {
  /** Undefined: it has ended. */
  readonly state: "running" | "stopped" | undefined;
}

/** The programs that were started in a host, by name. */
export const listProcesses = (lab: string, host: string): readonly Seen[] =>
  namesIn(labPaths(lab).host(host).processes)
    .filter((file) => file.endsWith(".json"))
    .map((file) => {
      const path = `${labPaths(lab).host(host).processes}/${file}`;
      const started = decodeAs(path, readStarted, parseJson(readFileSync(path, "utf8"), path));
      return { ...started, state: stateOf(started.id) };
    });

const findProcess = (lab: string, host: string, name: string): Seen | undefined =>
  listProcesses(lab, host).find((p) => p.name === name);

/**
 * Starts a program that has ended once more, as it was started before.
 * @throws usage/invalid if there is none of that name, or it runs
 */
export function startAgain(runner: LabRunner, host: string, name: string): Started {
  return startProcess(runner, host, name, requireProcess(runner.lab, host, name).argv);
}

function requireProcess(lab: string, host: string, name: string): Seen {
  const all = listProcesses(lab, host);
  const found = all.find((p) => p.name === name);
  if (found !== undefined) return found;
  const others = all.length > 0 ? `, but ${all.map((p) => p.name).join(", ")}` : "";
  throw new NetError("usage/invalid", {
    why: `nothing of the name "${name}" was started in ${host}${others}`,
  });
}

/** What a program is once a signal has done its work. */
const states = { SIGKILL: undefined, SIGSTOP: "stopped", SIGCONT: "running" } as const;
/** What that takes at most: the last thread of a program stops, or ends, when it comes out of the kernel. */
const SIGNAL_LIMIT_MS = 5_000;

/**
 * Sends a signal to a program that was started, and returns when it is ended, stopped or going on.
 * @throws usage/invalid if there is none of that name, or it has ended; try-again if it does not obey in time
 */
export function signalProgram(lab: string, host: string, name: string, what: keyof typeof states): void {
  const { id } = requireProcess(lab, host, name);
  if (!signal(id, what)) throw new NetError("usage/invalid", { why: `"${name}" of ${host} has ended` });
  for (const deadline = performance.now() + SIGNAL_LIMIT_MS; stateOf(id) !== states[what]; Bun.sleepSync(1))
    if (performance.now() > deadline)
      throw new NetError("try-again", { why: `"${name}" of ${host} has not obeyed ${what} yet` });
}
