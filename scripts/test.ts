/**
 * Runs the tests: the checks of `npm run check`, then every test file in random order, each in a fresh global object,
 * several at a time. Test files named `*.long.test.ts` run only with `--all`. Words on the command line choose files;
 * `--seed=N` repeats an order.
 */
import { setup } from "./setup.ts";
import { check } from "./check.ts";
import { ensureBuilt } from "./build.ts";
import { projectDir } from "./paths.ts";

/** What the whole run may take before it is ended, in seconds. */
const LIMIT_S = { usual: 8 * 60, all: 60 * 60 } as const;
/** What one test may take, in milliseconds; tests that need more say so themselves. */
const TEST_LIMIT_MS = 30_000;
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

async function runTests(): Promise<{
  readonly output: string;
  readonly code: number;
  readonly timedOut: boolean;
}> {
  const argv = [
    process.execPath,
    "test",
    "--isolate",
    `--parallel=${PROCESSES}`,
    "--randomize",
    `--seed=${seed}`,
  ];
  argv.push(`--timeout=${TEST_LIMIT_MS}`, "--only-failures", "--no-orphans");
  if (!all) argv.push("--path-ignore-patterns=**/*.long.test.ts");
  // Part of the checks, which have run by then.
  if (chosen.length === 0) argv.push("--path-ignore-patterns=src/tidy.test.ts");
  argv.push(...(chosen.length > 0 ? chosen : ["src/", "test/", "bench/", "scripts/"]));
  const child = Bun.spawn(argv, { cwd: projectDir, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let timedOut = false;
  const limit = setTimeout(() => ((timedOut = true), child.kill()), LIMIT_S[all ? "all" : "usual"] * 1e3);
  const [stdout, stderr, code] = await Promise.all([tee(child.stdout), tee(child.stderr), child.exited]);
  clearTimeout(limit);
  return { output: `${stdout}\n${stderr}`, code, timedOut };
}

function countsOf(output: string): Counts {
  const last = (word: string): number =>
    Number([...output.matchAll(new RegExp(`^\\s*(\\d+) ${word}$`, "gm"))].at(-1)?.[1] ?? 0);
  return { pass: last("pass"), fail: last("fail"), skip: last("skip") };
}

function printSkips(output: string): void {
  const reasons = new Set([...output.matchAll(/^skipped: (.*)$/gm)].map((match) => match[1]));
  for (const reason of reasons) console.log(`skipped: ${reason}`);
  if (all) return;
  const long = [...new Bun.Glob("{src,test,bench}/**/*.long.test.ts").scanSync(projectDir)];
  if (long.length > 0)
    console.log(`not run, because they take long (npm run test:all): ${long.toSorted().join(", ")}`);
}

async function main(): Promise<number> {
  await setup();
  const failedChecks = chosen.length === 0 ? await check() : [];
  await ensureBuilt();
  console.log(`tests: seed ${seed}, ${PROCESSES} processes`);
  const { output, code, timedOut } = await runTests();
  const { pass, fail, skip } = countsOf(output);
  printSkips(output);
  if (timedOut) console.log(`ended after ${LIMIT_S[all ? "all" : "usual"]} s: the tests took too long`);
  if (failedChecks.length > 0) console.log(`failed checks: ${failedChecks.join(", ")}`);
  // A crash of the runner has a code but no failed test; it counts as one.
  const failed = Math.max(fail, code === 0 ? 0 : 1) + failedChecks.length;
  console.log(`${pass} passed, ${failed} failed, ${skip} skipped (seed ${seed})`);
  return failed === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (e) {
  console.error(`test: ${e instanceof Error ? e.message : String(e)}`);
  process.exitCode = 1;
}
