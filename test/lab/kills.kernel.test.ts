import { describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { labPaths } from "../../src/lab/paths.ts";
import { labName, testLab } from "../../src/testing/lab.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { killAndRemove } from "./kills.ts";

const heddle = heddleOfFile();

kernelTest("heddle lab up that is told to end takes everything back by itself", async () => {
  for (const afterMs of [50, 300]) {
    const name = await labName(heddle);
    const up = Bun.spawn([heddle.path, "lab", "up", "--name", name, "--hosts", "8", "--containers", "10"], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const { dir } = labPaths(name);
    while (!existsSync(dir)) await Bun.sleep(1);
    await Bun.sleep(afterMs);
    up.kill("SIGINT");
    expect(await up.exited).toBe(1);
    expect(await up.stderr.text()).toContain("received SIGINT");
    expect(existsSync(dir)).toBe(false);
  }
});

/** How many processes have become this program. */
const programsCalled = (words: string): number =>
  readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandOf(pid) === words).length;

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").trimEnd().split("\0").filter(Boolean).join(" ");
  } catch {
    return "";
  }
}

describe("heddle lab down", () => {
  kernelTest("leaves nothing of a lab whose making was killed", async () => {
    for (const afterMs of [70, 110, 150, 200, 300, 450])
      expect(await killAndRemove(heddle, afterMs)).toMatchObject({ left: [] });
  });

  kernelTest("ends every program of its hosts, wherever it went", async () => {
    const lab = await testLab(heddle, "--hosts", "1");
    const leave = (place: string, words: string) =>
      lab.exec(place, ["sh", "-c", `setsid ${words} </dev/null >/dev/null 2>&1 &`]);
    // Nobody else sleeps for so long.
    const sleep = `sleep ${100_000 + process.pid}`;
    await leave("host1", sleep);
    await leave("host1", `ip netns exec c1 ${sleep}`);
    await leave("host1/c1", `unshare --mount ${sleep}`);
    await leave("router", `unshare --net ${sleep}`);
    while (programsCalled(sleep) < 4) await Bun.sleep(1);
    const { stdout } = await lab.command(["down", "--json"]);
    const [removed] = JSON.parse(stdout) as readonly {
      readonly ended: readonly { readonly host: string; readonly program: string }[];
    }[];
    expect(removed?.ended.map(({ host, program }) => `${host} ${program}`).toSorted()).toEqual([
      "host1 sleep",
      "host1 sleep",
      "host1 sleep",
      "router sleep",
    ]);
    expect(existsSync(lab.paths.dir)).toBe(false);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(lab.name);
  });
});
