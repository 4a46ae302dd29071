/**
 * The child that does the agent's firewall: one task from standard input, its answer on standard output. Programs of
 * iptables wait for a lock, and the system bus for a service: here nobody else waits with them.
 */
import { errorText } from "../cni/errors.ts";
import { readStdin, writeAll } from "../cni/executable.ts";
import { decodeAs, parseJson } from "../cni/json.ts";
import { performTask } from "../providers/flannel/firewall.ts";
import { type FirewallAnswer, readFirewallTask } from "./firewall-task.ts";

/** Runs the task of this process. Never throws: what went wrong is an answer. */
export async function runFirewallChild(): Promise<void> {
  let answer: FirewallAnswer;
  try {
    const task = decodeAs("task", readFirewallTask, parseJson(readStdin(), "task"));
    answer = { kind: "done", ...(await performTask(task)) };
  } catch (e) {
    answer = { kind: "failed", why: errorText(e) };
  }
  writeAll(1, JSON.stringify(answer));
}
