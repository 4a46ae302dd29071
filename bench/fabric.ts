/**
 * `npm run bench -- fabric`: what a host's kernel takes, and what we take above it, when the host joins a fabric by vxlan
 * of 100, 1,000 and 5,000 nodes, hears of one more, and finds its routes flushed. The nodes are made up; the kernel is real.
 */
import { writeFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";
import { join } from "node:path";
import { run } from "../src/testing/run.ts";
import { testNetns } from "../src/testing/netns.ts";
import type { FabricTimes } from "./fabric-run.ts";
import { settle } from "./settle.ts";
import { randomFrom, shuffled, summarize, type Summary } from "./stats.ts";

const sizes = [100, 1000, 5000] as const;
const targets = { microsecondsANode: 25, oneMoreMs: 5, repairMs: 1000 } as const;

interface Row {
  readonly nodes: number;
  readonly ours: Summary;
  readonly floor: Summary;
  /** Ours above the floor, in milliseconds: by the clock, and by the time on the processor. */
  readonly above: number;
  readonly aboveProcessor: number;
  readonly oneMore: Summary;
  readonly repair: Summary;
}

/** @throws Error with a line for people */
export async function benchFabric(argv: readonly string[]): Promise<void> {
  const { runs, seed, json, check } = optionsOf(argv);
  console.log(`Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`);
  console.log(
    `seed ${seed}, ${runs} runs, each in a new process; milliseconds, median (lower–upper quartile)`,
  );
  const random = randomFrom(seed);
  const rows: Row[] = [];
  for (const nodes of sizes) {
    const ours: FabricTimes[] = [];
    const floor: FabricTimes[] = [];
    for (let i = 0; i < runs; i++)
      for (const player of shuffled(["ours", "floor"] as const, random)) {
        (player === "ours" ? ours : floor).push(await one(player, nodes));
        await settle();
      }
    const row = rowOf(nodes, ours, floor);
    rows.push(row);
    console.log(show(row, rows[0] ?? row, loadavg()[0] ?? 0));
  }
  const missed = rows.flatMap((row) => missedIn(row, rows[0] ?? row));
  console.log(missed.length === 0 ? "\nall targets met" : `\n${missed.join("\n")}`);
  if (json !== undefined)
    writeFileSync(json, `${JSON.stringify({ seed, runs, rows, missed }, undefined, 1)}\n`);
  if (check && missed.length > 0) process.exitCode = 1;
}

async function one(player: "ours" | "floor", nodes: number): Promise<FabricTimes> {
  await using net = await testNetns();
  await net.exec(["ip", "-batch", "-"], {
    stdin:
      "link add eth0 type veth peer name far\nlink set far up\nlink set eth0 up\naddress add 192.0.2.1/24 dev eth0\n",
  });
  const child = [process.execPath, join(import.meta.dir, "fabric-run.ts"), player, String(nodes), net.path];
  return JSON.parse((await run(child, { timeoutMs: 60_000 })).stdout) as FabricTimes;
}

function rowOf(nodes: number, ours: readonly FabricTimes[], floor: readonly FabricTimes[]): Row {
  const all = (key: keyof FabricTimes): Summary => summarize(ours.map((t) => t[key] ?? Number.NaN));
  const kernel = summarize(floor.map((t) => t.join));
  const joined = all("join");
  return {
    nodes,
    ours: joined,
    floor: kernel,
    above: joined.median - kernel.median,
    aboveProcessor: all("joinProcessor").median - summarize(floor.map((t) => t.joinProcessor)).median,
    oneMore: all("oneMore"),
    repair: all("repair"),
  };
}

const spread = ({ median, lower, upper }: Summary): string =>
  `${median.toFixed(2)} (${lower.toFixed(2)}–${upper.toFixed(2)})`;

/**
 * What each node more costs above the kernel, in microseconds. Code that runs for the first time costs the same for any number of
 * nodes; the smallest fabric tells how much.
 */
const eachNode = (row: Row, smallest: Row, what: "above" | "aboveProcessor"): number =>
  ((row[what] - smallest[what]) * 1000) / (row.nodes - smallest.nodes);

function show(row: Row, smallest: Row, load: number): string {
  const { nodes, ours, floor, above, aboveProcessor, oneMore, repair } = row;
  const each = (what: "above" | "aboveProcessor"): string => eachNode(row, smallest, what).toFixed(1);
  return [
    `\n${nodes} nodes (load ${load.toFixed(1)})`,
    `  join              ${spread(ours)}, the kernel's own ${spread(floor)}`,
    `  above the kernel  ${above.toFixed(1)} ms, ${aboveProcessor.toFixed(1)} on the processor`,
    ...(row === smallest
      ? []
      : [`  for each node     ${each("above")} µs, ${each("aboveProcessor")} on the processor`]),
    `  one more node     ${spread(oneMore)}`,
    `  routes flushed    ${spread(repair)}`,
  ].join("\n");
}

function missedIn(row: Row, smallest: Row): readonly string[] {
  const { nodes, oneMore, repair } = row;
  const each = row === smallest ? 0 : eachNode(row, smallest, "above");
  const missed = (what: string, target: string): string =>
    `MISSED  ${nodes} nodes: ${what}, target ≤ ${target}`;
  return [
    ...(each > targets.microsecondsANode
      ? [missed(`each takes ${each.toFixed(1)} µs above the kernel`, `${targets.microsecondsANode}`)]
      : []),
    ...(oneMore.median > targets.oneMoreMs
      ? [missed(`one more takes ${oneMore.median.toFixed(2)} ms`, `${targets.oneMoreMs}`)]
      : []),
    ...(repair.median > targets.repairMs
      ? [missed(`repair takes ${repair.median.toFixed(0)} ms`, `${targets.repairMs}`)]
      : []),
  ];
}

function optionsOf(argv: readonly string[]) {
  const rest = [...argv];
  let runs = 15;
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
  let json: string | undefined;
  let check = false;
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    if (flag === "--check") check = true;
    else if (flag === "--quick") runs = 3;
    else if (flag === "--json") json = rest.shift();
    else if (flag === "--runs") runs = Number(rest.shift());
    else if (flag === "--seed") seed = Number(rest.shift());
    else
      throw new Error(`unknown option ${flag}: fabric has --runs N, --quick, --seed N, --json FILE, --check`);
  }
  if (!Number.isInteger(runs) || runs < 1) throw new Error("--runs: not a number from 1");
  return { runs, seed, json, check };
}
