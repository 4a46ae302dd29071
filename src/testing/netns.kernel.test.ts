import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { kernelTest } from "./needs.ts";
import { testNetns } from "./netns.ts";
import { run } from "./run.ts";

kernelTest("testNetns gives a namespace of its own and takes it away again", async () => {
  let path = "";
  {
    await using netns = await testNetns();
    path = netns.path;
    expect(existsSync(path)).toBe(true);
    const { stdout } = await netns.exec(["ip", "-o", "link", "show", "up"]);
    expect(stdout).toContain("lo:");
    expect(stdout.trim().split("\n")).toHaveLength(1);
  }
  expect(existsSync(path)).toBe(false);
});

kernelTest("testNetns removes what a killed test left behind", async () => {
  // No process has this id: it is above the kernel's largest (2^22, linux/threads.h).
  const orphan = "hdl-4194399-1";
  await run(["ip", "netns", "add", orphan]);
  const script = `await using _ = await (await import(${JSON.stringify(`${import.meta.dir}/netns.ts`)})).testNetns();`;
  await run([process.execPath, "-e", script]);
  expect(existsSync(`/run/netns/${orphan}`)).toBe(false);
});

kernelTest("a program started in a namespace is gone after its block", async () => {
  await using netns = await testNetns();
  let pid = 0;
  {
    await using server = netns.start([
      process.execPath,
      "-e",
      "console.log('ready'); setInterval(() => {}, 1e6)",
    ]);
    await server.printed("ready");
    pid = server.pid;
    expect(existsSync(`/proc/${pid}`)).toBe(true);
  }
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});
