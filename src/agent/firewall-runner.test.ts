import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import type { FirewallTask } from "../providers/flannel/firewall.ts";
import { cidr } from "../testing/address.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openFirewallRunner } from "./firewall-runner.ts";
import { encodeFirewallTask, readFirewallTask } from "./firewall-task.ts";

const v4 = { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") };
const task: FirewallTask = {
  verb: "ensure",
  kind: "iptables",
  wish: {
    v4,
    v6: { network: cidr("fd00:10::/48"), subnet: cidr("fd00:10:0:3::/64") },
    masquerade: { fullyRandom: true },
    acceptForwarded: true,
  },
  before: { v4 },
};

const child = (script: string, limitMs?: number) =>
  openFirewallRunner([process.execPath, "-e", script], limitMs);

/** True while the process is there; one that nobody has waited for yet is not. */
const runs = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");

describe("the child that does the firewall", () => {
  test("is told the task whole", () => {
    const told = (given: FirewallTask): unknown =>
      readFirewallTask(JSON.parse(encodeFirewallTask(given)) as unknown, "");
    expect(told(task)).toEqual(task);
    const least: FirewallTask = { verb: "remove", kind: "nftables", wish: { acceptForwarded: false } };
    expect(told(least)).toEqual(least);
  });

  test("says what was mended and what could not be, or why nothing was", async () => {
    using good = child(
      `console.log(JSON.stringify({ kind: "done", mended: [JSON.parse(await Bun.stdin.text()).verb], hindrances: ["the policy"] }))`,
    );
    expect(await good.perform(task)).toEqual({ mended: ["ensure"], hindrances: ["the policy"] });
    using bad = child(`console.log('{"kind":"failed","why":"iptables-restore: no such table"}')`);
    expect(bad.perform(task)).rejects.toThrow("iptables-restore: no such table");
    using silent = child("process.exitCode = 3");
    expect(silent.perform(task)).rejects.toThrow("the child process ended with 3");
    using nonsense = child("console.log('what?')");
    expect(nonsense.perform(task)).rejects.toThrow("answer of the child process");
  });

  test("that waits for a lock keeps nobody else waiting, and is ended in time with the program that waits", async () => {
    using dir = tempDir("firewall");
    const note = dir.in("pid");
    using stuck = child(
      `const sleeper = Bun.spawn(["sleep", "60"]);
       await Bun.write(${JSON.stringify(note)}, String(sleeper.pid)); await sleeper.exited;`,
      1_000,
    );
    let turns = 0;
    const ticking = setInterval(() => turns++, 10);
    const failure = await stuck.perform(task).catch((e: unknown) => (e as Error).message);
    clearInterval(ticking);
    expect(failure).toBe("the firewall: not done within 1 s");
    expect(turns).toBeGreaterThan(10);
    const pid = Number(readFileSync(note, "utf8"));
    while (runs(pid)) await Bun.sleep(1);
  });

  test("ends with the agent", async () => {
    const stuck = child("await new Promise((resolve) => setTimeout(resolve, 60_000))");
    const work = stuck.perform(task).catch((e: unknown) => (e as Error).message);
    stuck[Symbol.dispose]();
    expect(await work).toBe("the firewall: the child process ended with SIGKILL");
  });
});
