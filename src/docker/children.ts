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

/** How often a task is begun whose child somebody ends: who is short of memory may choose it, and Docker asks for no removal twice. */
const TRIES = 3;

const ANSWER = "answer of the child process";

/** `argv` starts this program, with `CHILD_COMMAND` as its last word. `env` is all that a child gets. */
export function taskRunner(argv: readonly string[], env: Readonly<Record<string, string>>): RunTask {
  const slots = makeSlots(CHILDREN);
  return (task) =>
    slots.run(async () => {
      for (let nth = 1; ; nth++) {
        const answer = await runOne(argv, env, task);
        if (answer !== undefined) return answer;
        // Every task may be begun anew: what its child had done already stays as it is, or is gone already.
        if (nth === TRIES) return { kind: "failed", why: `the child process was ended ${TRIES} times` };
      }
    });
}

/** Undefined: the child was ended by a signal that was not ours. */
async function runOne(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  task: Task,
): Promise<Answer | undefined> {
  try {
    const began = performance.now();
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
    const late = performance.now() - began >= LIMIT_MS;
    if (child.signalCode !== null && !late) return undefined;
    if (code !== 0 && text === "")
      return {
        kind: "failed",
        why: late ? `not done within ${LIMIT_MS / 1e3} s` : `the child process ended with ${code}`,
      };
    return decodeAs(ANSWER, readAnswer, parseJson(text, ANSWER));
  } catch (e) {
    return { kind: "failed", why: errorText(e) };
  }
}
