/**
 * `npm run bench -- fabric`: joining a fabric of many nodes, against the kernel's own cost; and TCP between two hosts that we set up,
 * against two that a person did.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { type Join, measureJoin, missedIn, prepareJoin, showJoin, sizes } from "./fabric-join.ts";
import { backends, compareStreams, type Streams } from "./fabric-tcp.ts";
import { prepareMeters } from "./meters.ts";
import { randomFrom, type Summary } from "./stats.ts";

/** Ours to what was set up by hand, at least. */
const STREAM_TARGET = 0.9;

const usage = `npm run bench -- fabric [options]
  --only PART   "join" or "tcp"
  --runs N      of joining, for each size (default 15)
  --pairs N     of streams, for each backend (default 10)
  --seconds N   of each stream (default 3)
  --quick       few and short runs: whether it works
  --seed N      repeats an order of runs
  --json FILE   writes the numbers
  --check       ends with code 1 if a target is missed`;

/** @throws Error with a line for people */
export async function benchFabric(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help")) return console.log(usage);
  const { only, runs, pairs, seconds, seed, json, check } = optionsOf(argv);
  console.log(`Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`);
  console.log(`seed ${seed}; median (lower–upper quartile)`);
  const random = randomFrom(seed);
  const rows: Join[] = [];
  const streams: Streams[] = [];
  if (only !== "tcp") await joining(runs, random, rows);
  if (only !== "join") {
    const meters = await prepareMeters();
    console.log(`\nTCP, 1 stream between containers of two hosts, ${pairs} pairs of ${seconds} s`);
    for (const backend of backends) {
      const one = await compareStreams(backend, meters, { pairs, seconds, random });
      streams.push(one);
      console.log(showStreams(one));
    }
  }
  const missed = [
    ...rows.flatMap(missedIn),
    ...streams
      .filter((one) => !isMet(one))
      .map(
        ({ backend, ratio }) => `MISSED  ${backend}: ${ratio.median.toFixed(2)} of what was set up by hand`,
      ),
  ];
  console.log(missed.length === 0 ? "\nall targets met" : `\n${missed.join("\n")}`);
  if (json !== undefined)
    writeFileSync(
      json,
      `${JSON.stringify({ seed, runs, pairs, seconds, rows, streams, missed }, undefined, 1)}\n`,
    );
  if (check && missed.length > 0) process.exitCode = 1;
}

async function joining(runs: number, random: () => number, rows: Join[]): Promise<void> {
  console.log(`\njoining, ${runs} pairs of runs, each in a new process`);
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  try {
    const program = await prepareJoin(dir);
    for (const nodes of sizes) {
      const row = await measureJoin(program, nodes, { runs, random });
      rows.push(row);
      console.log(showJoin(row, rows[0] ?? row, loadavg()[0] ?? 0));
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const isMet = ({ ratio }: Streams): boolean => ratio.median >= STREAM_TARGET;

function showStreams(one: Streams): string {
  const text = ({ median, lower, upper }: Summary): string =>
    `${median.toPrecision(3)} (${lower.toPrecision(3)}–${upper.toPrecision(3)})`;
  return (
    `  ${one.backend.padEnd(8)} ${text(one.ours)} to ${text(one.byHand)} Gbit/s set up by hand; ratio ${text(one.ratio)}, ` +
    `target ≥ ${STREAM_TARGET}: ${isMet(one) ? "met" : "MISSED"}; ${one.equalObjects} objects of the kernel equal ` +
    `(load ${(loadavg()[0] ?? 0).toFixed(1)})`
  );
}

function optionsOf(argv: readonly string[]) {
  const rest = [...argv];
  const numbers = { runs: 15, pairs: 10, seconds: 3 };
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  let json: string | undefined;
  let check = false;
  let only: "join" | "tcp" | undefined;
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    if (flag === "--check") check = true;
    else if (flag === "--quick") Object.assign(numbers, { runs: 3, pairs: 2, seconds: 1 });
    else if (flag === "--json") json = rest.shift();
    else if (flag === "--seed") seed = Number(rest.shift());
    else if (flag === "--only") only = partOf(rest.shift());
    else if (flag === "--runs" || flag === "--pairs" || flag === "--seconds")
      numbers[flag.slice(2) as keyof typeof numbers] = Number(rest.shift());
    else throw new Error(`unknown option ${flag}\n${usage}`);
  }
  for (const [name, value] of Object.entries(numbers))
    if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: not a number from 1`);
  return { ...numbers, only, seed, json, check };
}

function partOf(word: string | undefined): "join" | "tcp" {
  if (word === "join" || word === "tcp") return word;
  throw new Error('--only: "join" or "tcp"');
}
