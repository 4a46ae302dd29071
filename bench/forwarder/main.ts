/**
 * `npm run bench -- forwarder`: the user-space data path against a plain forwarder in C, in interleaved pairs on the same
 * machine, each with hosts of its own. Prints medians with quartiles and the ratio of each pair's two.
 *
 * A row of UDP is judged by what the far program reads, unless that program is the limit beneath both forwarders: then by what the
 * far device gives to its kernel. Both readings are told in any case, with what the decision stands on.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBuilt } from "../../scripts/build.ts";
import { randomFrom, shuffled, summarize, type Summary } from "../stats.ts";
import { makeStage, type Player, preparePrograms, type Stage, type UdpFlow, type Underlay } from "./stage.ts";

interface Case {
  readonly unit: string;
  readonly hosts?: number;
  readonly underlay?: Underlay;
  /** Ours to the plain one's: at least, or with `most` at most. */
  readonly least?: number;
  readonly most?: number;
  readonly measure: (stage: Stage, seconds: number) => Promise<Reading>;
}

/** What is judged; of UDP also all that is known of its datagrams. */
interface Reading {
  readonly value: number;
  readonly flow?: UdpFlow;
}

const tcp =
  (streams: number, family: 4 | 6 = 4) =>
  async (stage: Stage, seconds: number): Promise<Reading> => ({
    value: await stage.tcp(seconds, streams, family),
  });

const udp =
  (bytes: number, scale: number) =>
  async (stage: Stage, seconds: number): Promise<Reading> => {
    const flow = await stage.udp(seconds, bytes);
    return { value: flow.read * scale, flow: { ...flow, carried: flow.carried * scale } };
  };

const cases: Readonly<Record<string, Case>> = {
  "tcp, 1 stream": { unit: "Gbit/s", least: 4, measure: tcp(1) },
  "tcp, 8 streams": { unit: "Gbit/s", least: 3, measure: tcp(8) },
  "tcp over IPv6": { unit: "Gbit/s", least: 3, measure: tcp(1, 6) },
  "tcp, 3 peers": { unit: "Gbit/s", least: 3, hosts: 4, measure: tcp(1) },
  "tcp, no offloads below": { unit: "Gbit/s", least: 1.2, underlay: "none", measure: tcp(1) },
  "udp, 1,400 bytes": { unit: "Gbit/s", least: 2, measure: udp(1400, (1400 * 8) / 1e9) },
  "udp, packets of 64 bytes": { unit: "kpps", least: 1, measure: udp(36, 1 / 1e3) },
  "there and back": {
    unit: "ms",
    most: 1.1,
    measure: async (stage, seconds) => ({ value: await stage.rtt(seconds * 300) }),
  },
};

const players: readonly Player[] = ["heddle", "plain"];

interface Compared {
  readonly of: Readonly<Record<Player, Summary>>;
  /** Ours to the plain one's, of each pair. */
  readonly ratio: Summary;
}

interface Result extends Compared {
  readonly name: string;
  readonly met: boolean;
  readonly udp?: UdpResult;
}

interface UdpResult {
  /** The other reading: what the far device gave to its kernel. */
  readonly carried: Compared;
  /** Of what was carried, the part that the far program left unread until its socket was full. */
  readonly unreadPart: Readonly<Record<Player, Summary>>;
  /** What that program took of one processor, in parts of a hundred. */
  readonly readerBusy: Readonly<Record<Player, Summary>>;
  /** The row is judged by what was carried, since the far program cannot read more beneath both. */
  readonly readerIsLimit: boolean;
}

/**
 * A program that has a processor for itself and still leaves a tenth of what reaches it unread cannot tell how much reached it. One
 * that leaves it unread because it did not get to run in time is an application as others are.
 */
const UNREAD_PART = 0.1;
const BUSY_PARTS = 80;

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
  const readings: Record<Player, Reading[]> = { heddle: [], plain: [] };
  // The first pair warms up and is not counted.
  for (let run = 0; run <= runs; run++)
    for (const player of shuffled(players, random)) {
      const reading = await measure(stages[player], run === 0 ? 1 : seconds);
      if (run > 0) readings[player].push(reading);
    }
  const read = comparedBy(readings, ({ value }) => value);
  const udp = readings.heddle[0]?.flow && udpResult(readings);
  const { median } = (udp?.readerIsLimit === true ? udp.carried : read).ratio;
  const met = median >= (least ?? 0) && median <= (most ?? Infinity);
  return { name, ...read, met, ...(udp ? { udp } : {}) };
}

type Readings = Readonly<Record<Player, readonly Reading[]>>;

const summaries = (readings: Readings, of: (reading: Reading) => number): Record<Player, Summary> => ({
  heddle: summarize(readings.heddle.map(of)),
  plain: summarize(readings.plain.map(of)),
});

function comparedBy(readings: Readings, of: (reading: Reading) => number): Compared {
  const plain = readings.plain.map(of);
  const ratios = readings.heddle.map((reading, i) => of(reading) / (plain[i] ?? Number.NaN));
  return { of: summaries(readings, of), ratio: summarize(ratios) };
}

function udpResult(readings: Readings): UdpResult {
  const flowOf = ({ flow }: Reading): UdpFlow => flow ?? { read: 0, carried: 0, unread: 0, readerBusy: 0 };
  const unreadPart = summaries(readings, (reading) => {
    const { read, unread } = flowOf(reading);
    return unread / (read + unread);
  });
  const readerBusy = summaries(readings, (reading) => flowOf(reading).readerBusy);
  return {
    carried: comparedBy(readings, (reading) => flowOf(reading).carried),
    unreadPart,
    readerBusy,
    readerIsLimit: players.every(
      (player) => unreadPart[player].median >= UNREAD_PART && readerBusy[player].median >= BUSY_PARTS,
    ),
  };
}

const text = ({ median, lower, upper }: Summary): string =>
  `${median.toPrecision(3)} (${lower.toPrecision(3)}–${upper.toPrecision(3)})`;

function show({ name, udp, met, ...read }: Result, { unit, least, most }: Case): string {
  const target = least === undefined ? `≤ ${most}` : `≥ ${least}`;
  const load = (loadavg()[0] ?? 0).toFixed(1);
  const line = (title: string, { of, ratio }: Compared, isJudged: boolean): string =>
    `${title.padEnd(26)} ${text(of.heddle)} to ${text(of.plain)} ${unit}; ratio ${text(ratio)}` +
    (isJudged ? `, target ${target}: ${met ? "met" : "MISSED"} (load ${load})` : ", not judged");
  if (udp === undefined) return line(name, read, true);
  const { carried, unreadPart, readerBusy, readerIsLimit } = udp;
  const both = (of: Readonly<Record<Player, Summary>>, factor: number): string =>
    players.map((player) => (of[player].median * factor).toFixed(0)).join(" and ");
  return [
    line(`${name}, read`, read, !readerIsLimit),
    line(`${name}, carried`, carried, readerIsLimit),
    `  the far program left ${both(unreadPart, 100)} % of what reached it unread, at ${both(readerBusy, 1)} % of a processor: ` +
      (readerIsLimit ? "it is the limit beneath both" : "it is not the limit beneath both"),
  ].join("\n");
}
