import { describe, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testLab } from "../../src/testing/lab.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { killAndRemove } from "./kills.ts";

const heddle = heddleOfFile();

describe("heddle lab down", () => {
  kernelTest("leaves nothing of a lab whose making was killed", async () => {
    for (const afterMs of [70, 110, 150, 200, 300, 450])
      expect(await killAndRemove(heddle, afterMs)).toMatchObject({ left: [] });
  });

  kernelTest("ends every program of its hosts, wherever it went", async () => {
    const lab = await testLab(heddle, "--hosts", "1");
    const leave = (place: string, words: string) =>
      lab.exec(place, ["sh", "-c", `setsid ${words} </dev/null >/dev/null 2>&1 &`]);
    await leave("host1", "sleep 1000");
    await leave("host1", "ip netns exec c1 sleep 1000");
    await leave("host1/c1", "unshare --mount sleep 1000");
    await leave("router", "unshare --net sleep 1000");
    const { stdout } = await lab.command(["down"]);
    expect(stdout).toMatch(/ended 4 programs/);
    expect(existsSync(lab.paths.dir)).toBe(false);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(lab.name);
  });
});
