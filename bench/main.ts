/**
 * `npm run bench`: measures ADD and DEL of ours and of the reference in the same minutes on the same machine, and says
 * which targets are met. README.md beside this file says how, and what the numbers do not say.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { benchAgent } from "./agent.ts";
import type { CaseName } from "./cases.ts";
import { benchFabric } from "./fabric.ts";
import { benchForwarder } from "./forwarder/main.ts";
import { measure, type Measured } from "./measure.ts";
import { type Options, parseOptions, usage } from "./options.ts";
import { preparePrograms } from "./programs.ts";
import { showCase, showVerdict, type Verdict, verdictsOf } from "./report.ts";
import { settle } from "./settle.ts";
import { randomFrom } from "./stats.ts";

async function bench(options: Options): Promise<readonly Verdict[]> {
  if (process.geteuid?.() !== 0) throw new Error("the benchmark makes network namespaces and needs root");
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  try {
    console.log(`Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`);
    console.log(`seed ${options.seed}, ${options.runs} runs; median (lower–upper quartile)`);
    const places = await preparePrograms(dir);
    const random = randomFrom(options.seed);
    const all: { readonly case: CaseName; readonly players: readonly Measured[]; readonly load: number }[] =
      [];
    for (const name of options.cases) {
      const players = await measure(name, (i) => places(name, i), join(dir, "var-lib"), options, random);
      const load = loadavg()[0] ?? 0;
      console.log(showCase(name, players, load));
      all.push({ case: name, players, load });
      await settle();
    }
    const verdicts = all.flatMap((one) => verdictsOf(one.case, one.players));
    if (options.json !== undefined)
      writeFileSync(options.json, `${JSON.stringify({ ...options, cases: all, verdicts }, undefined, 1)}\n`);
    return verdicts;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const argv = process.argv.slice(2);
if (argv.includes("--help") && argv[0] !== "forwarder" && argv[0] !== "fabric") console.log(usage);
else
  try {
    if (argv[0] === "forwarder") await benchForwarder(argv.slice(1));
    else if (argv[0] === "fabric") await benchFabric(argv.slice(1));
    else if (argv[0] === "agent") await benchAgent(argv.slice(1));
    else await benchPlugins(argv);
  } catch (e) {
    console.error(`bench: ${e instanceof Error ? e.message : String(e)}`);
    process.exitCode = 1;
  }

async function benchPlugins(words: readonly string[]): Promise<void> {
  const options = parseOptions(words);
  const verdicts = await bench(options);
  const missed = verdicts.filter((v) => !v.met);
  console.log(`\n${verdicts.length - missed.length} of ${verdicts.length} targets met`);
  for (const v of missed) console.log(`${showVerdict(v)}  [${v.case}]`);
  if (missed.length > 0 && options.check) process.exitCode = 1;
}
