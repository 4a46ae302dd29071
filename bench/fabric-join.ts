/**
 * What a host's kernel takes, and what we take above it, when the host joins a fabric by vxlan of 100, 1,000 and 5,000 nodes, hears
 * of one more, and finds its routes flushed. The nodes are made up; the kernel is real.
 */
import { join } from "node:path";
import { compileOptions } from "../scripts/build.ts";
import { command } from "../scripts/command.ts";
import { testNetns } from "../src/testing/netns.ts";
import { run } from "../src/testing/run.ts";
import type { FabricTimes } from "./fabric-run.ts";
import { settle } from "./settle.ts";
import { shuffled, summarize, type Summary } from "./stats.ts";

export const sizes = [100, 1000, 5000] as const;
const targets = { microsecondsANode: 25, oneMoreMs: 5, repairMs: 1000 } as const;

export interface Join {
  readonly nodes: number;
  /** Milliseconds by the clock. */
  readonly ours: Summary;
  readonly floor: Summary;
  /**
   * What we take of the processors above the kernel's own cost, divided by all nodes: microseconds, of each pair of runs. It is
   * this that the target is about.
   */
  readonly eachNode: Summary;
  /** The same in milliseconds for all nodes together, and by the clock. */
  readonly aboveProcessor: Summary;
  readonly above: Summary;
  readonly oneMore: Summary;
  readonly repair: Summary;
}

export interface JoinOptions {
  readonly runs: number;
  readonly random: () => number;
}

/** The program of the runs, compiled as the executable is. Returns its path in `dir`. */
export async function prepareJoin(dir: string): Promise<string> {
  const program = join(dir, "fabric-run");
  const source = join(import.meta.dir, "fabric-run.ts");
  await command([process.execPath, "build", ...compileOptions, source, `--outfile=${program}`]);
  return program;
}

export async function measureJoin(program: string, nodes: number, options: JoinOptions): Promise<Join> {
  const ours: FabricTimes[] = [];
  const floor: FabricTimes[] = [];
  for (let i = 0; i < options.runs; i++)
    for (const player of shuffled(["ours", "floor"] as const, options.random)) {
      (player === "ours" ? ours : floor).push(await one(program, player, nodes));
      await settle();
    }
  const of = (times: readonly FabricTimes[], key: keyof FabricTimes): Summary =>
    summarize(times.map((t) => t[key] ?? Number.NaN));
  const above = (key: "join" | "joinProcessor", factor = 1): Summary =>
    summarize(ours.map((t, i) => (t[key] - (floor[i]?.[key] ?? Number.NaN)) * factor));
  return {
    nodes,
    ours: of(ours, "join"),
    floor: of(floor, "join"),
    eachNode: above("joinProcessor", 1000 / nodes),
    aboveProcessor: above("joinProcessor"),
    above: above("join"),
    oneMore: of(ours, "oneMore"),
    repair: of(ours, "repair"),
  };
}

async function one(program: string, player: "ours" | "floor", nodes: number): Promise<FabricTimes> {
  await using net = await testNetns();
  await net.exec(["ip", "-batch", "-"], {
    stdin:
      "link add eth0 type veth peer name far\nlink set far up\nlink set eth0 up\naddress add 192.0.2.1/24 dev eth0\n",
  });
  const { stdout } = await run([program, player, String(nodes), net.path], { timeoutMs: 60_000 });
  return JSON.parse(stdout) as FabricTimes;
}

const spread = ({ median, lower, upper }: Summary, digits: number): string =>
  `${median.toFixed(digits)} (${lower.toFixed(digits)}–${upper.toFixed(digits)})`;

/** `smallest`: the row of the smallest fabric, which tells what the first run costs whatever the number of nodes. */
export function showJoin(row: Join, smallest: Join, load: number): string {
  const { microsecondsANode, oneMoreMs, repairMs } = targets;
  const judged = (value: Summary, most: number, unit: string): string =>
    `${spread(value, unit === "µs" ? 1 : 2)} ${unit}, target ≤ ${most}: ${value.median <= most ? "met" : "MISSED"}`;
  const marginal =
    ((row.aboveProcessor.median - smallest.aboveProcessor.median) * 1000) / (row.nodes - smallest.nodes);
  return [
    `\n${row.nodes} nodes (load ${load.toFixed(1)})`,
    `  join              ${spread(row.ours, 2)} ms, the kernel's own ${spread(row.floor, 2)}`,
    `  above the kernel  ${spread(row.above, 1)} ms, ${spread(row.aboveProcessor, 1)} on the processors`,
    `  a node            ${judged(row.eachNode, microsecondsANode, "µs")}`,
    ...(row === smallest
      ? []
      : [`  for the record    ${marginal.toFixed(1)} µs for each node above ${smallest.nodes}`]),
    `  one more node     ${judged(row.oneMore, oneMoreMs, "ms")}`,
    `  routes flushed    ${judged(row.repair, repairMs, "ms")}`,
  ].join("\n");
}

export function missedIn({ nodes, eachNode, oneMore, repair }: Join): readonly string[] {
  const over = (value: Summary, most: number, what: string): readonly string[] =>
    value.median <= most
      ? []
      : [`MISSED  ${nodes} nodes: ${what}: ${value.median.toFixed(1)}, target ≤ ${most}`];
  return [
    ...over(eachNode, targets.microsecondsANode, "µs a node above the kernel, on the processors"),
    ...over(oneMore, targets.oneMoreMs, "ms for one more"),
    ...over(repair, targets.repairMs, "ms after all routes were flushed"),
  ];
}
