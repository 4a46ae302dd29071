import { afterAll, beforeAll, expect } from "bun:test";
import { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { heddleOfFile } from "../src/testing/executable.ts";
import { kernelTest } from "../src/testing/needs.ts";
import { testNetns, type TestNetns } from "../src/testing/netns.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir, type TempDir } from "../src/testing/temp-dir.ts";

/** What a real loopback ADD may cost more than an empty program, where nothing else runs. The benchmark measures it. */
const BUDGET = { ms: 1.5, megabytes: 12 } as const;
/**
 * The test's own limits are wider, because other tests run beside it and machines differ: they catch an import that
 * does not belong on the plugin path (node:crypto alone was 2.4 ms and 6 MB), not a few microseconds.
 */
const LIMIT = { timesEmpty: 5, megabytes: 24 } as const;
const RUNS = 30;
const CONF = JSON.stringify({ cniVersion: "1.0.0", name: "startup", type: "loopback" });

const heddle = heddleOfFile();
let dir: TempDir;
beforeAll(async () => {
  dir = tempDir("startup");
  writeFileSync(dir.in("empty.ts"), "process.exitCode = 0;\n");
  writeFileSync(dir.in("waiting.ts"), "setInterval(() => undefined, 1e6);\n");
  for (const name of ["empty", "waiting"])
    await run([
      ...[process.execPath, "build", "--compile", "--bytecode", "--format=esm", "--minify"],
      ...[dir.in(`${name}.ts`), `--outfile=${dir.in(name)}`],
    ]);
});
afterAll(() => dir[Symbol.dispose]());

const variables = (command: "ADD" | "DEL", netns: TestNetns): Readonly<Record<string, string>> => ({
  ...plainEnv,
  CNI_COMMAND: command,
  CNI_CONTAINERID: `startup-${process.pid}`,
  CNI_NETNS: netns.path,
  CNI_IFNAME: "lo",
  CNI_PATH: heddle.cniPath,
});

kernelTest("a loopback ADD takes little longer than an empty program", async () => {
  await using netns = await testNetns();
  const [ours, empty]: [number[], number[]] = [[], []];
  for (let i = 0; i < RUNS; i++) {
    empty.push(milliseconds(dir.in("empty"), plainEnv));
    ours.push(milliseconds(heddle.at("loopback"), variables("ADD", netns)));
    milliseconds(heddle.at("loopback"), variables("DEL", netns));
  }
  const [own, floor] = [quartile(ours), quartile(empty)];
  console.log(
    `loopback ADD: ${own.toFixed(2)} ms of the processors, ${(own / floor).toFixed(2)} times an empty program's ${floor.toFixed(2)} ms; ` +
      `${(own - floor).toFixed(2)} ms more (budget ${BUDGET.ms})`,
  );
  expect(own / floor).toBeLessThan(LIMIT.timesEmpty);
});

kernelTest("a loopback ADD needs little more memory than an empty program", async () => {
  await using netns = await testNetns();
  // Both wait at their end, where the most that they needed can be read: the ADD for somebody to take its answer.
  await run(["mkfifo", dir.in("pipe")]);
  const reader = openSync(dir.in("pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
  const full = openSync(dir.in("pipe"), constants.O_WRONLY | constants.O_NONBLOCK);
  const writer = openSync(dir.in("pipe"), constants.O_WRONLY);
  fill(full);
  const ours = await peakMegabytes(heddle.at("loopback"), variables("ADD", netns), writer);
  const empty = await peakMegabytes(dir.in("waiting"), plainEnv, "ignore");
  for (const fd of [reader, full, writer]) closeSync(fd);
  milliseconds(heddle.at("loopback"), variables("DEL", netns));
  const more = ours - empty;
  console.log(
    `loopback ADD: ${ours.toFixed(1)} MB, ${more.toFixed(1)} MB more than an empty program (budget ${BUDGET.megabytes})`,
  );
  expect(more).toBeGreaterThan(0);
  expect(more).toBeLessThan(LIMIT.megabytes);
});

/** On the processors: how long other tests keep them busy plays no part. */
function milliseconds(program: string, env: Readonly<Record<string, string>>): number {
  const child = Bun.spawnSync([program], {
    stdin: Buffer.from(CONF),
    env: { ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  if (!child.success) throw new Error(`${program}: ${child.stderr.toString()}${child.stdout.toString()}`);
  return Number(child.resourceUsage.cpuTime.total) / 1000;
}

/**
 * The largest resident size of a program, read while it waits, in MB. The size that wait4(2) reports will not do: it
 * begins with that of the process that started the program.
 */
async function peakMegabytes(
  program: string,
  env: Readonly<Record<string, string>>,
  stdout: number | "ignore",
): Promise<number> {
  const child = Bun.spawn([program], {
    stdin: Buffer.from(CONF),
    env: { ...env },
    stdout,
    stderr: "inherit",
  });
  try {
    let last = "";
    for (let same = 0; same < 25;) {
      await Bun.sleep(2);
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      const now = `${/^State:\s+S/m.test(status)} ${/^VmHWM:\s+(\d+)/m.exec(status)?.[1]}`;
      same = now === last && now.startsWith("true") ? same + 1 : 0;
      last = now;
    }
    return (Number(last.split(" ")[1]) * 1024) / 1e6;
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}

/** Writes until there is no more room. */
function fill(fd: number): void {
  const bytes = Buffer.alloc(4096);
  try {
    for (;;) writeSync(fd, bytes);
  } catch (e) {
    if (!(e instanceof Error && "code" in e && e.code === "EAGAIN")) throw e;
  }
}

/** The lower quartile: what it takes when nothing else gets in the way. */
function quartile(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 4)] ?? 0;
}
