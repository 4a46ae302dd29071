/** The agent's side of its firewall: each task is done by a child, this executable again, within a bounded time. */
import { decodeAs, parseJson } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import type { FirewallTask, Performed, PerformTask } from "../providers/flannel/firewall.ts";
import { errnoOf } from "../sys/files.ts";
import { encodeFirewallTask, readFirewallAnswer } from "./firewall-task.ts";

/** The word that makes this executable the child (see main.ts). */
export const FIREWALL_COMMAND = "agent-firewall";

/** What a task takes at most; a lock of iptables is waited for half as long, and usually it is a tenth of a second. */
const LIMIT_MS = 60_000;

const ANSWER = "answer of the child process";

export interface FirewallRunner extends Disposable {
  /** @throws try-again with what went wrong, in one sentence */
  readonly perform: PerformTask;
}

/** `argv` starts this program, with `FIREWALL_COMMAND` as its last word. At its end a task that runs is ended, too. */
export function openFirewallRunner(argv: readonly string[], limitMs = LIMIT_MS): FirewallRunner {
  const running = new Set<Bun.Subprocess>();
  return {
    perform: async (task) => {
      const child = start(argv, task);
      running.add(child);
      const late = Promise.withResolvers<"late">();
      const timer = setTimeout(() => late.resolve("late"), limitMs);
      try {
        const said = await Promise.race([answerOf(child), late.promise]);
        if (said !== "late") return said;
        throw new NetError("try-again", { why: `the firewall: not done within ${limitMs / 1e3} s` });
      } finally {
        clearTimeout(timer);
        running.delete(child);
        // A program that it was waiting for would go on without it.
        end(child);
      }
    },
    [Symbol.dispose]: () => {
      for (const child of running) end(child);
    },
  };
}

function start(argv: readonly string[], task: FirewallTask) {
  const bus = process.env["DBUS_SYSTEM_BUS_ADDRESS"];
  return Bun.spawn([...argv], {
    // A copy of the executable that is called like a plugin would be that plugin.
    argv0: "heddle",
    // With the programs that it starts, in a process group of its own.
    detached: true,
    env: bus === undefined ? {} : { DBUS_SYSTEM_BUS_ADDRESS: bus },
    cwd: "/",
    stdin: Buffer.from(encodeFirewallTask(task)),
    stdout: "pipe",
    stderr: "inherit",
  });
}

async function answerOf(child: ReturnType<typeof start>): Promise<Performed> {
  const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
  if (text === "")
    throw new NetError("try-again", {
      why: `the firewall: the child process ended with ${child.signalCode ?? code}`,
    });
  const answer = decodeAs(ANSWER, readFirewallAnswer, parseJson(text, ANSWER));
  if (answer.kind === "failed") throw new NetError("try-again", { why: answer.why });
  return { mended: answer.mended, hindrances: answer.hindrances };
}

/** Ends it with everything that it has started. One that answered has nothing left, and its number is not used again here. */
function end(child: Bun.Subprocess): void {
  if (child.exitCode !== null) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (e) {
    if (errnoOf(e) !== "ESRCH") throw e;
  }
}
