/** A soak: containers of several runtimes come and go on one host while everything that can go wrong does. */
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { diceOf } from "../../src/testing/seed.ts";
import { driversOf } from "./drivers.ts";
import { gate } from "./gate.ts";
import { lane } from "./lane.ts";
import { ledger, type Ledger } from "./ledger.ts";
import { writeLists } from "./lists.ts";
import type { Options } from "./options.ts";
import { prober } from "./prober.ts";
import { end, type Ending, lookAtRest } from "./rest.ts";
import { soakSite } from "./site.ts";
import { trouble } from "./trouble.ts";
import type { World } from "./world.ts";

export interface Soaked extends Ending {
  readonly ledger: Ledger;
  readonly minutes: number;
  /** What the plugin of Docker has printed. */
  readonly pluginLog: readonly string[];
}

/** Many violations say the same again. */
const MOST_VIOLATIONS = 20;
const PORTS = Array.from({ length: 200 }, (_, i) => 20_000 + i);

/** Ends early when `signal` says so, and cleans up all the same. `progress` is told every second. */
export async function soak(
  tree: string | undefined,
  heddle: HeddleBinary,
  { minutes, seed, runtimes }: Pick<Options, "minutes" | "seed" | "runtimes">,
  signal: AbortSignal,
  progress: (world: World, leftMs: number) => void = () => undefined,
): Promise<Soaked> {
  await using site = await soakSite(tree, heddle, runtimes);
  await using asking = prober(site.on);
  writeLists(site.on);
  const epoch = performance.now();
  const book = ledger(() => performance.now() - epoch);
  const over = new AbortController();
  const world: World = {
    site,
    drivers: driversOf(site, runtimes, diceOf(seed, "drivers"), book.took),
    ledger: book,
    prober: asking,
    containers: new Map(),
    ports: [...PORTS],
    work: gate(),
    rules: gate(),
    seed,
    signal: AbortSignal.any([signal, over.signal]),
  };
  const began = performance.now();
  const leftMs = (): number => Math.max(0, minutes * 60_000 - (performance.now() - began));
  const limit = setTimeout(() => over.abort(), leftMs());
  const clock = setInterval(() => {
    progress(world, leftMs());
    if (book.violations.length >= MOST_VIOLATIONS) over.abort();
  }, 1_000);
  try {
    const lanes = [...world.drivers].flatMap(([name, driver]) =>
      Array.from({ length: driver.lanes }, (_, nth) => lane(world, name, nth)),
    );
    await Promise.all([...lanes, trouble(world)]);
    await lookAtRest(world);
  } finally {
    clearTimeout(limit);
    clearInterval(clock);
  }
  const ran = (performance.now() - began) / 60_000;
  const ending = await end(world);
  return { ...ending, ledger: book, minutes: ran, pluginLog: site.pluginLog() };
}
