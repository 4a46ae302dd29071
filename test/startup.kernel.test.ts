import { afterAll, beforeAll, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { type HeddleBinary, heddleBinary } from "../src/testing/executable.ts";
import { kernelTest } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir, type TempDir } from "../src/testing/temp-dir.ts";

/** What a real loopback ADD may cost more than an empty program, where nothing else runs. */
const BUDGET = { ms: 1.5, megabytes: 12 } as const;
/**
 * The test's own limits are wider, because other tests run beside it; they still catch an import that does not belong
 * on the plugin path. The benchmark measures the budget itself.
 */
const LIMIT = { ms: 6, megabytes: 16 } as const;
const RUNS = 30;

let heddle: HeddleBinary;
let dir: TempDir;
beforeAll(async () => {
  heddle = await heddleBinary();
  dir = tempDir("startup");
  writeFileSync(dir.in("empty.ts"), "process.exitCode = 0;\n");
  const flags = ["--compile", "--bytecode", "--format=esm", "--minify"];
  await run([process.execPath, "build", ...flags, dir.in("empty.ts"), `--outfile=${dir.in("empty")}`]);
});
afterAll(() => {
  heddle[Symbol.dispose]();
  dir[Symbol.dispose]();
});

kernelTest("a loopback ADD starts within the budget of an empty program", async () => {
  await using netns = await testNetns();
  const conf = Buffer.from(JSON.stringify({ cniVersion: "1.0.0", name: "startup", type: "loopback" }));
  const loopback = (command: "ADD" | "DEL"): Cost =>
    cost([heddle.at("loopback")], conf, {
      ...plainEnv,
      CNI_COMMAND: command,
      CNI_CONTAINERID: `startup-${process.pid}`,
      CNI_NETNS: netns.path,
      CNI_IFNAME: "lo",
      CNI_PATH: heddle.cniPath,
    });
  const [ours, empty]: [Cost[], Cost[]] = [[], []];
  for (let i = 0; i < RUNS; i++) {
    empty.push(cost([dir.in("empty")], conf, plainEnv));
    ours.push(loopback("ADD"));
    loopback("DEL");
  }
  const more = {
    ms: median(ours, "ms") - median(empty, "ms"),
    megabytes: median(ours, "megabytes") - median(empty, "megabytes"),
  };
  console.log(
    `loopback ADD: ${median(ours, "ms").toFixed(2)} ms, ${median(ours, "megabytes").toFixed(1)} MB; more than an ` +
      `empty program by ${more.ms.toFixed(2)} ms (budget ${BUDGET.ms}) and ${more.megabytes.toFixed(1)} MB (budget ${BUDGET.megabytes})`,
  );
  expect(more.ms).toBeLessThan(LIMIT.ms);
  expect(more.megabytes).toBeLessThan(LIMIT.megabytes);
});

interface Cost {
  readonly ms: number;
  readonly megabytes: number;
}

function cost(argv: readonly string[], stdin: Buffer, env: Readonly<Record<string, string>>): Cost {
  const started = performance.now();
  const child = Bun.spawnSync([...argv], { stdin, env: { ...env }, stdout: "pipe", stderr: "pipe" });
  const ms = performance.now() - started;
  if (!child.success)
    throw new Error(`${argv.join(" ")}: ${child.stderr.toString()}${child.stdout.toString()}`);
  return { ms, megabytes: child.resourceUsage.maxRSS / 1e6 };
}

function median(costs: readonly Cost[], what: keyof Cost): number {
  const sorted = costs.map((c) => c[what]).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
