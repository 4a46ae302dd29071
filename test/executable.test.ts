import { describe, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { heddleOfFile, runPlugin } from "../src/testing/executable.ts";
import { testWith, whyNot } from "../src/testing/needs.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();

test("a small file that names the executable as its interpreter is a plugin by its own name", async () => {
  using dir = tempDir("stub");
  writeFileSync(dir.in("static"), `#!${heddle.path} as-plugin\n`, { mode: 0o755 });
  const { json } = await runPlugin(dir.in("static"), { command: "VERSION" }, { cniVersion: "1.0.0" });
  expect(json).toMatchObject({ supportedVersions: expect.arrayContaining(["1.1.0"]) as string[] });
});

describe("an executable that was stripped", () => {
  testWith({ programs: ["strip"] }).each([["--strip-all"], ["--strip-unneeded"], ["--strip-debug"]])(
    "by strip %s is the same program and the same plugin",
    async (how) => {
      using dir = tempDir("stripped");
      await run(["strip", how, "-o", dir.in("static"), heddle.path]);
      expect(statSync(dir.in("static")).size).toBeLessThan(statSync(heddle.path).size);
      const { json } = await runPlugin(dir.in("static"), { command: "VERSION" }, { cniVersion: "1.0.0" });
      expect(json).toMatchObject({ supportedVersions: expect.arrayContaining(["1.1.0"]) as string[] });
      renameSync(dir.in("static"), dir.in("heddle"));
      const version = async (program: string) => (await run([program, "--version"])).stdout;
      expect(await version(dir.in("heddle"))).toBe(await version(heddle.path));
    },
  );
});

describe("a hostile working directory", () => {
  test("cannot make the executable run its code or set its variables", async () => {
    using dir = tempDir("hostile");
    writeFileSync(dir.in("bunfig.toml"), `preload = ["./evil.ts"]\n[run]\npreload = ["./evil.ts"]\n`);
    writeFileSync(
      dir.in("evil.ts"),
      `require("node:fs").writeFileSync(${JSON.stringify(dir.in("ran"))}, "");`,
    );
    writeFileSync(dir.in("package.json"), `{ "imports": { "commander": "./evil.ts" } }`);
    writeFileSync(dir.in("tsconfig.json"), `{ "compilerOptions": { "paths": { "*": ["./evil.ts"] } } }`);
    // If this were read, the plugin would answer VERSION without having been asked.
    writeFileSync(dir.in(".env"), "CNI_COMMAND=VERSION\nNETCONFPATH=/hostile\n");
    const plugin = await run([heddle.at("static")], { cwd: dir.path, env: plainEnv, stdin: "" });
    expect(plugin.stdout).toBe("");
    const cli = await run([heddle.at("heddle"), "cni", "status", "x"], {
      cwd: dir.path,
      env: plainEnv,
      mustSucceed: false,
    });
    expect(cli.stderr).not.toContain("/hostile");
    expect(existsSync(dir.in("ran"))).toBe(false);
  });
});

describe("an answer larger than a pipe holds", () => {
  const addresses = Array.from({ length: 4000 }, (_, i) => ({ address: `10.${i >> 8}.${i & 255}.2/16` }));
  const conf = { cniVersion: "1.1.0", name: "big", type: "x", ipam: { type: "static", addresses } };

  test.skipIf(whyNot({}) !== undefined).each([
    ["a pipe that blocks", 0],
    ["a pipe that was made non-blocking", constants.O_NONBLOCK],
  ])("reaches a slow reader whole, through %s", async (_, flags) => {
    using dir = tempDir("pipe");
    await run(["mkfifo", dir.in("pipe")]);
    // A reader must be there before a writer can open; this one is replaced by one that blocks.
    const early = openSync(dir.in("pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(dir.in("pipe"), constants.O_WRONLY | flags);
    const reader = openSync(dir.in("pipe"), "r");
    closeSync(early);
    const child = Bun.spawn([heddle.at("static")], {
      env: { ...plainEnv, CNI_COMMAND: "ADD", CNI_CONTAINERID: "c", CNI_NETNS: "/x", CNI_IFNAME: "eth0" },
      stdin: Buffer.from(JSON.stringify(conf)),
      stdout: writer,
      stderr: "inherit",
    });
    closeSync(writer);
    const text = readSlowly(reader);
    closeSync(reader);
    expect(await child.exited).toBe(0);
    expect(text.length).toBeGreaterThan(200_000);
    expect((JSON.parse(text) as { ips: unknown[] }).ips).toHaveLength(addresses.length);
  });
});

/** So slow that the writer finds the pipe full nearly every time. */
function readSlowly(fd: number): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.alloc(4096);
    const n = readSync(fd, chunk);
    if (n === 0) return Buffer.concat(chunks).toString("utf8");
    chunks.push(chunk.subarray(0, n));
    Bun.sleepSync(1);
  }
}

test("input without an end does not fill the memory", async () => {
  const { code, json } = await runPlugin(
    heddle.at("static"),
    { command: "ADD", containerId: "c", netns: "/x", ifname: "eth0" },
    "x".repeat(8 * 1024 * 1024),
  );
  expect(code).toBe(1);
  expect(json).toMatchObject({ code: 6 });
});

test("a reader that goes away ends the program without a stack", async () => {
  using dir = tempDir("pipe");
  await run(["mkfifo", dir.in("pipe")]);
  const reader = openSync(dir.in("pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(dir.in("pipe"), constants.O_WRONLY);
  closeSync(reader);
  const child = Bun.spawn([heddle.at("heddle"), "plugins"], {
    env: plainEnv,
    stdout: writer,
    stderr: "pipe",
  });
  closeSync(writer);
  expect(await child.stderr.text()).toBe("");
  await child.exited;
});
