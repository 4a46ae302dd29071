/**
 * `npm run soak`: says whether Heddle keeps its promises for as long as one likes while containers come and go and everything
 * else goes wrong. docs/reliability.md says what is done and what was seen. Nothing of it touches this machine's network.
 */
import { writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../../scripts/build.ts";
import { groupsAreThere } from "../runtimes/cgroups.ts";
import { GROUND_NEEDS } from "../runtimes/root-tree.ts";
import { whyNot } from "../../src/testing/needs.ts";
import { parseOptions, usage } from "./options.ts";
import { numbers, progressLine, showViolation, summary } from "./report.ts";
import { soak } from "./soak.ts";
import { soakTree } from "./site.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const INSIDE = "--inside";
/** Where nobody looks at a terminal, a line so often is enough. */
const EVERY_S = 30;

/**
 * Starts this file again in a session of its own: Ctrl-C at a terminal goes to every program that was started from it, and
 * is meant for this one.
 */
async function inOwnSession(argv: readonly string[]): Promise<number> {
  const under = ["setpriv", "--pdeathsig", "TERM", "setsid"];
  const child = Bun.spawn([...under, process.execPath, import.meta.path, INSIDE, ...argv], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  return child.exited;
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv);
  const why = whyNot({ ...GROUND_NEEDS, feature: groupsAreThere() });
  const tree = why === undefined ? await soakTree() : undefined;
  if (tree === undefined) throw new Error(`the soak ${why ?? "needs packages of Debian"}`);
  const stop = new AbortController();
  for (const signal of SIGNALS) process.on(signal, () => stop.abort());
  const path = await ensureBuilt();
  const heddle = { path, cniPath: "", at: (name: string) => join("/opt/cni/bin", name) };
  console.log(`Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`);
  console.log(`seed ${options.seed}, ${options.minutes} minutes, ${options.runtimes.join(", ")}`);
  const terminal = process.stdout.isTTY;
  let [second, told] = [0, 0];
  const done = await soak(tree, heddle, options, stop.signal, ({ ledger, containers }, leftMs) => {
    const news = ledger.violations.slice(told);
    told = ledger.violations.length;
    if (news.length > 0) console.log(`${terminal ? "\r\u001B[K" : ""}${news.map(showViolation).join("\n")}`);
    const line = progressLine(ledger, containers.size, leftMs);
    if (terminal) process.stdout.write(`\r\u001B[K${line}`);
    else if (++second % EVERY_S === 0) console.log(line);
  });
  console.log(`${terminal ? "\r\u001B[K" : ""}\n${summary(done)}`);
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify(numbers(options, done), undefined, 1)}\n`);
  if (options.log !== undefined)
    writeFileSync(options.log, [...done.ledger.notes, ...done.pluginLog, ""].join("\n"));
  return done.ledger.violations.length > 0 ? 1 : 0;
}

const argv = process.argv.slice(2);
if (argv.includes("--help")) console.log(usage);
else
  try {
    const [first, ...rest] = argv;
    process.exitCode = first === INSIDE ? await main(rest) : await inOwnSession(argv);
  } catch (e) {
    console.error(`soak: ${e instanceof Error ? e.message : String(e)}`);
    process.exitCode = 1;
  }
