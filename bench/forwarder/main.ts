/**
 * `npm run bench -- forwarder`: the user-space data path against a plain forwarder in C, in interleaved pairs on the same
 * machine, each with hosts of its own. Prints medians with quartiles and the ratio of each pair's two.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../../scripts/build.ts";
import { randomFrom, shuffled, summarize, type Summary } from "../stats.ts";
import { makeStage, type Player, preparePrograms, type Stage, type Underlay } from "./stage.ts";

interface Case {
  readonly unit: string;
  readonly hosts?: number;
  readonly underlay?: Underlay;
  /** Ours to the plain one's: at least, or with `most` at most. */
  readonly least?: number;
  readonly most?: number;
  readonly measure: (stage: Stage, seconds: number) => Promise<number>;
}

const tcp =
  (streams: number, family: 4 | 6 = 4) =>
  (stage: Stage, seconds: number): Promise<number> =>
    stage.tcp(seconds, streams, family);

const cases: Readonly<Record<string, Case>> = {
  "tcp, 1 stream": { unit: "Gbit/s", least: 4, measure: tcp(1) },
  "tcp, 8 streams": { unit: "Gbit/s", least: 3, measure: tcp(8) },
  "tcp over IPv6": { unit: "Gbit/s", least: 3, measure: tcp(1, 6) },
  "tcp, 3 peers": { unit: "Gbit/s", least: 3, hosts: 4, measure: tcp(1) },
  "tcp, no offloads below": { unit: "Gbit/s", least: 1.2, underlay: "none", measure: tcp(1) },
  "udp, 1,400 bytes": {
    unit: "Gbit/s",
    least: 2,
    measure: async (stage, seconds) => ((await stage.udp(seconds, 1400)).carried * 1400 * 8) / 1e9,
  },
  "udp, 1,400 bytes, read": {
    unit: "Gbit/s",
    measure: async (stage, seconds) => ((await stage.udp(seconds, 1400)).read * 1400 * 8) / 1e9,
  },
  "udp, packets of 64 bytes": {
    unit: "kpps",
    least: 1,
    measure: async (stage, seconds) => (await stage.udp(seconds, 36)).carried / 1e3,
  },
  "there and back": { unit: "ms", most: 1.1, measure: (stage, seconds) => stage.rtt(seconds * 300) },
};

const players: readonly Player[] = ["heddle", "plain"];

interface Result {
  readonly name: string;
  readonly of: Readonly<Record<Player, Summary>>;
  readonly ratio: Summary;
  readonly met: boolean;
}

const usage = `npm run bench -- forwarder [options]
  --runs N      pairs of each case (default 10)
  --seconds N   of each measurement (default 3)
  --case NAME   only cases whose name contains this
  --seed N      repeats an order of runs
  --json FILE   writes the numbers
  --check       ends with code 1 if a target is missed`;

export async function benchForwarder(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help")) return console.log(usage);
  const option = (name: string): string | undefined => argv[argv.indexOf(name) + 1 || argv.length];
  const runs = Number(option("--runs") ?? 10);
  const seconds = Number(option("--seconds") ?? 3);
  const seed = Number(option("--seed") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const wanted = option("--case") ?? "";
  const dir = mkdtempSync(join(tmpdir(), "heddle-bench-"));
  const random = randomFrom(seed);
  console.log(`Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`);
  console.log(`seed ${seed}, ${runs} pairs of ${seconds} s; median (lower–upper quartile)`);
  try {
    const programs = await preparePrograms(await ensureBuilt(), dir);
    const results: Result[] = [];
    for (const [name, one] of Object.entries(cases).filter(([name]) => name.includes(wanted))) {
      await using stack = new AsyncDisposableStack();
      const stages = {} as Record<Player, Stage>;
      for (const player of players)
        stages[player] = stack.use(
          await makeStage(programs, player, one.underlay ?? "offloads", one.hosts ?? 2, dir),
        );
      const result = await compare(name, one, stages, { runs, seconds, random });
      console.log(show(result, one));
      results.push(result);
    }
    const file = option("--json");
    if (file !== undefined)
      writeFileSync(file, `${JSON.stringify({ seed, runs, seconds, results }, undefined, 1)}\n`);
    const missed = results.filter(({ met }) => !met);
    console.log(`\n${results.length - missed.length} of ${results.length} targets met`);
    if (missed.length > 0 && argv.includes("--check")) process.exitCode = 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function compare(
  name: string,
  { measure, least, most }: Case,
  stages: Readonly<Record<Player, Stage>>,
  {
    runs,
    seconds,
    random,
  }: { readonly runs: number; readonly seconds: number; readonly random: () => number },
): Promise<Result> {
  const values: Record<Player, number[]> = { heddle: [], plain: [] };
  // The first pair warms up and is not counted.
  for (let run = 0; run <= runs; run++)
    for (const player of shuffled(players, random)) {
      const value = await measure(stages[player], run === 0 ? 1 : seconds);
      if (run > 0) values[player].push(value);
    }
  const ratio = summarize(values.heddle.map((value, i) => value / (values.plain[i] ?? Number.NaN)));
  const met = ratio.median >= (least ?? 0) && ratio.median <= (most ?? Infinity);
  return { name, of: { heddle: summarize(values.heddle), plain: summarize(values.plain) }, ratio, met };
}

function show({ name, of, ratio, met }: Result, { unit, least, most }: Case): string {
  const text = ({ median, lower, upper }: Summary): string =>
    `${median.toPrecision(3)} (${lower.toPrecision(3)}–${upper.toPrecision(3)})`;
  const target = least === undefined ? (most === undefined ? "none" : `≤ ${most}`) : `≥ ${least}`;
  const load = (loadavg()[0] ?? 0).toFixed(1);
  return (
    `${name.padEnd(26)} ${text(of.heddle)} to ${text(of.plain)} ${unit}; ` +
    `ratio ${text(ratio)}, target ${target}${target === "none" ? "" : met ? ": met" : ": MISSED"} (load ${load})`
  );
}
