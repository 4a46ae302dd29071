import { expect } from "bun:test";
import { join } from "node:path";
import { tryLockFile } from "../sys/flock.ts";
import { testWith } from "../testing/needs.ts";
import { startProcess } from "../testing/netns.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { runProgram } from "./iptables-run.ts";

const onLinux = testWith({ programs: ["cat", "sleep"] });

onLinux("a program gets its input and a clean environment, and its output is kept", () => {
  expect(runProgram("cat", [], "text")).toEqual({ code: 0, stdout: "text", stderr: "" });
  expect(runProgram("cat", ["/proc/self/environ"], "")?.stdout.split("\0").filter(Boolean)).toEqual([
    "PATH=/usr/sbin:/sbin:/usr/bin:/bin",
    "LC_ALL=C",
  ]);
  expect(runProgram("no-such-program", [], "")).toBeUndefined();
});

onLinux("a lock stays taken until the program ends, though its parent was killed", async () => {
  using dir = tempDir("held");
  const path = dir.in("lock");
  const script = `
    const { lockFile } = await import("${join(import.meta.dir, "../sys/flock.ts")}");
    const { runProgram } = await import("${join(import.meta.dir, "iptables-run.ts")}");
    const lock = lockFile("${path}", "exclusive");
    console.log("locked");
    runProgram("sleep", ["1"], "", lock.fd);`;
  {
    await using parent = startProcess([process.execPath, "-e", script]);
    await parent.printed("locked");
    // The program has started when it has the lock open.
    const children = async (): Promise<string> =>
      Bun.file(`/proc/${parent.pid}/task/${parent.pid}/children`).text();
    while ((await children()).trim() === "") await Bun.sleep(1);
  }
  using early = tryLockFile(path);
  expect(early).toBeUndefined();
  const deadline = performance.now() + 5_000;
  for (;;) {
    using late = tryLockFile(path);
    if (late !== undefined) return;
    expect(performance.now()).toBeLessThan(deadline);
    await Bun.sleep(5);
  }
});
