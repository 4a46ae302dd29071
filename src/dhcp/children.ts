/**
 * Running tasks in children, a bounded number at a time. A child is this executable, started with an empty environment and
 * told its task on standard input.
 */
import { errorText } from "../cni/errors.ts";
import { decodeAs, parseJson } from "../cni/json.ts";
import { makeSlots } from "./slots.ts";
import { type Answer, readAnswer, type Task } from "./task.ts";

/** Runs one task to its answer. Rejects only if `signal` ends it. */
export type RunTask = (task: () => Task, signal: AbortSignal) => Promise<Answer>;

/** The word that makes this executable a child (see main.ts). */
export const CHILD_COMMAND = "dhcp-exchange";

/** How many children there are at most, by what they do: who waits for a dead server does not keep others waiting. */
export const CHILDREN = { acquire: 32, upkeep: 16, release: 16 } as const;

const slotsOf = {
  acquire: "acquire",
  renew: "upkeep",
  rebind: "upkeep",
  withdraw: "upkeep",
  release: "release",
  probe: "release",
} as const;

/** What a task other than `acquire` takes at most; it ends itself long before. */
const UPKEEP_LIMIT_MS = 30_000;

/** `argv` starts this program, with `CHILD_COMMAND` as its last word. */
export function taskRunner(argv: readonly string[]): RunTask {
  const slots = {
    acquire: makeSlots(CHILDREN.acquire),
    upkeep: makeSlots(CHILDREN.upkeep),
    release: makeSlots(CHILDREN.release),
  };
  // The task is made again when its turn has come: it says how much time is left.
  return (task, signal) => slots[slotsOf[task().kind]].run(async () => runOne(argv, task(), signal), signal);
}

async function runOne(argv: readonly string[], task: Task, signal: AbortSignal): Promise<Answer> {
  const limitMs = task.kind === "acquire" ? task.times.totalMs + UPKEEP_LIMIT_MS : UPKEEP_LIMIT_MS;
  try {
    const child = Bun.spawn([...argv], {
      // A copy of the executable that is called like a plugin would be that plugin.
      argv0: "heddle",
      env: {},
      stdin: Buffer.from(JSON.stringify(task)),
      stdout: "pipe",
      stderr: "inherit",
      killSignal: "SIGKILL",
      timeout: limitMs,
      signal,
    });
    const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
    signal.throwIfAborted();
    if (code !== 0 && text === "")
      return { kind: "failed", why: `the child process ended with ${child.signalCode ?? code}` };
    return decodeAs(
      "answer of the child process",
      readAnswer,
      parseJson(text, "answer of the child process"),
    );
  } catch (e) {
    signal.throwIfAborted();
    return { kind: "failed", why: errorText(e) };
  }
}
