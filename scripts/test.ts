/**
 * Runs the tests: the checks of `npm run check`, then every test file in random order, each in a fresh global object,
 * several at a time. Test files named `*.long.test.ts` run only with `--all`. Words on the command line choose files;
 * `--seed=N` repeats an order, and what is sampled by it. Tests for a kernel with features that this one lacks run afterwards in a virtual machine.
 */
import { existsSync, readFileSync } from "node:fs";
import { tempDir } from "../src/testing/temp-dir.ts";
import { whyNoGuest } from "../test/vm/machine.ts";
import { deferredIn, runDeferred, TEST_LIMIT_MS } from "../test/vm/tests.ts";
import { setup } from "./setup.ts";
import { check } from "./check.ts";
import { ensureBuilt } from "./build.ts";
import { projectDir } from "./paths.ts";
import { type FileTime, reportTo, showSlowest, timesIn } from "./test-times.ts";

/** What the whole run may take before it is ended, in seconds. */
const LIMIT_S = { usual: 20 * 60, all: 4 * 60 * 60 } as const;
/** The kernel serializes most network configuration, so more processes than this only wait for each other. */
const PROCESSES = Math.min(4, Math.max(2, navigator.hardwareConcurrency));

interface Counts {
  readonly pass: number;
  readonly fail: number;
  readonly skip: number;
}

const all = process.argv.includes("--all");
const chosen = process.argv.slice(2).filter((arg) => !arg.startsWith("--"));
const seedGiven = process.argv.find((arg) => arg.startsWith("--seed="))?.slice("--seed=".length);
const seed = seedGiven ?? String(crypto.getRandomValues(new Uint32Array(1))[0]);

/** Passes on what the child prints and keeps it. */
async function tee(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    process.stdout.write(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

const IN_GUEST = "in the virtual machine";

interface Ran {
  readonly where: "here" | typeof IN_GUEST;
  readonly counts: Counts;
  readonly times: readonly FileTime[];
  readonly output: string;
  readonly code: number;
  readonly timedOut: boolean;
}

const limitS = LIMIT_S[all ? "all" : "usual"];
const secondsLeft = (): number => limitS - performance.now() / 1e3;

/** Every chosen test that this machine can run. The file `notes` gets those that need another kernel, `report` the times. */
async function runTests(notes: string, report: string): Promise<Ran> {
  const argv = [
    process.execPath,
    "test",
    "--isolate",
    `--parallel=${PROCESSES}`,
    "--randomize",
    `--seed=${seed}`,
  ];
  argv.push(`--timeout=${TEST_LIMIT_MS}`, "--only-failures", "--no-orphans", ...reportTo(report));
  if (!all) argv.push("--path-ignore-patterns=**/*.long.test.ts");
  // Part of the checks, which have run by then.
  if (chosen.length === 0) argv.push("--path-ignore-patterns=src/tidy.test.ts");
  argv.push(...(chosen.length > 0 ? chosen : ["src/", "test/", "bench/", "scripts/"]));
  const env = { ...process.env, HEDDLE_DEFERRED: notes };
  const child = Bun.spawn(argv, { cwd: projectDir, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let timedOut = false;
  const limit = setTimeout(() => ((timedOut = true), child.kill()), secondsLeft() * 1e3);
  const [stdout, stderr, code] = await Promise.all([tee(child.stdout), tee(child.stderr), child.exited]);
  clearTimeout(limit);
  const output = `${stdout}\n${stderr}`;
  const times = existsSync(report) ? timesIn(readFileSync(report, "utf8")) : [];
  return { where: "here", counts: countsOf(output), times, output, code, timedOut };
}

/**
 * The tests that were noted, in a guest. Undefined if there are none, or after saying why there is no guest; with `--all`,
 * that is a failure.
 */
async function runNoted(notes: string): Promise<Ran | undefined> {
  const deferred = deferredIn(notes);
  if (deferred === undefined) return undefined;
  const what = `tests for a kernel with ${deferred.features.join(", ")}`;
  const skipped = (why: string): Ran | undefined => {
    const output = `${all ? "failed" : "skipped"}: ${what}: a virtual machine ${why}`;
    console.log(output);
    return all
      ? { where: IN_GUEST, counts: countsOf(""), times: [], output, code: 1, timedOut: false }
      : undefined;
  };
  const why = whyNoGuest();
  if (why !== undefined) return skipped(why);
  console.log(`${what}: ${deferred.files.length} files in a virtual machine`);
  try {
    const print = (chunk: Uint8Array): void => void process.stdout.write(chunk);
    const outcome = await runDeferred(deferred, { seed, limitS: secondsLeft(), print });
    const { report, output, timedOut } = outcome;
    const code = report?.code ?? 1;
    if (code !== 0) console.log(`--- the log of the virtual machine\n${outcome.console}`);
    const times = report?.times ?? [];
    return { where: IN_GUEST, counts: countsOf(output), times, output, code, timedOut };
  } catch (e) {
    return skipped(`cannot be had: ${e instanceof Error ? e.message : String(e)}`);
  }
}

function countsOf(output: string): Counts {
  const last = (word: string): number =>
    Number([...output.matchAll(new RegExp(`^\\s*(\\d+) ${word}$`, "gm"))].at(-1)?.[1] ?? 0);
  return { pass: last("pass"), fail: last("fail"), skip: last("skip") };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

function printSkips(output: string): void {
  const reasons = new Set([...output.matchAll(/^skipped: (.*)$/gm)].map((match) => match[1]));
  for (const reason of reasons) console.log(`skipped: ${reason}`);
  if (all) return;
  const long = [...new Bun.Glob("{src,test,bench}/**/*.long.test.ts").scanSync(projectDir)];
  if (long.length > 0)
    console.log(`not run, because they take long (npm run test:all): ${long.toSorted().join(", ")}`);
}

async function main(): Promise<number> {
  // Samples of large products are the same here and in the virtual machine.
  process.env["HEDDLE_SEED"] ??= seed;
  if (all) process.env["HEDDLE_ALL"] = "1";
  await setup();
  const failedChecks = chosen.length === 0 ? await check() : [];
  await ensureBuilt();
  console.log(`tests: seed ${seed}, ${PROCESSES} processes`);
  using dir = tempDir("tests");
  const notes = dir.in("deferred");
  const here = await runTests(notes, dir.in("times.xml"));
  const guest = here.timedOut ? undefined : await runNoted(notes);
  const runs = guest === undefined ? [here] : [here, guest];
  printSkips(here.output);
  for (const { where, times } of runs)
    if (times.length > 1) console.log(`slowest ${where}: ${showSlowest(times)}`);
  if (runs.some(({ timedOut }) => timedOut)) console.log(`ended after ${limitS} s: the tests took too long`);
  if (failedChecks.length > 0) console.log(`failed checks: ${failedChecks.join(", ")}`);
  // A crash of the runner has a code but no failed test; it counts as one.
  const failures = runs.map(({ counts, code }) => Math.max(counts.fail, code === 0 ? 0 : 1));
  const pass = sum(runs.map(({ counts }) => counts.pass));
  // What ran in the guest was skipped before.
  const skip = here.counts.skip - (guest === undefined ? 0 : guest.counts.pass + guest.counts.fail);
  const unwanted = skip > 0 && process.env["HEDDLE_SKIPS"] === "fail" ? 1 : 0;
  const failed = sum(failures) + failedChecks.length + unwanted;
  console.log(`${pass} passed, ${failed} failed, ${skip} skipped (seed ${seed})`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (e) {
  console.error(`test: ${e instanceof Error ? e.message : String(e)}`);
  process.exitCode = 1;
}
