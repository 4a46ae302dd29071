/** Running tasks in children, a bounded number at a time. A child is this executable, told its task on standard input. */
import { errorText } from "../cni/errors.ts";
import { decodeAs, parseJson } from "../cni/json.ts";
import { makeSlots } from "../dhcp/slots.ts";
import { type Answer, readAnswer, type Task } from "./task.ts";

/** Runs one task to its answer; never rejects. */
export type RunTask = (task: Task) => Promise<Answer>;

/** The word that makes this executable a child (see main.ts). */
export const CHILD_COMMAND = "docker-task";

/** How many children there are at most. */
export const CHILDREN = 16;

/** What a task takes at most, waiting for locks included; usually it is a hundredth of a second. */
const LIMIT_MS = 60_000;

const ANSWER = "answer of the child process";

/** `argv` starts this program, with `CHILD_COMMAND` as its last word. `env` is all that a child gets. */
export function taskRunner(argv: readonly string[], env: Readonly<Record<string, string>>): RunTask {
  const slots = makeSlots(CHILDREN);
  return (task) => slots.run(async () => runOne(argv, env, task));
}

async function runOne(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  task: Task,
): Promise<Answer> {
  try {
    const child = Bun.spawn([...argv], {
      // A copy of the executable that is called like a plugin would be that plugin.
      argv0: "heddle",
      env: { ...env },
      stdin: Buffer.from(JSON.stringify(task)),
      stdout: "pipe",
      stderr: "inherit",
      killSignal: "SIGKILL",
      timeout: LIMIT_MS,
    });
    const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
    if (code !== 0 && text === "")
      return { kind: "failed", why: `the child process ended with ${child.signalCode ?? code}` };
    return decodeAs(ANSWER, readAnswer, parseJson(text, ANSWER));
  } catch (e) {
    return { kind: "failed", why: errorText(e) };
  }
}
