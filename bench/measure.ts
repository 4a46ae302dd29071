/**
 * Runs one case: a stage for each player, then rounds in which every player attaches and detaches once, in an order that
 * the seed decides. So whatever else the machine does meets all of them alike.
 */
import { join } from "node:path";
import { type Case, type CaseName, caseOf } from "./cases.ts";
import type { Verb } from "./neutral-runtime.ts";
import type { Options } from "./options.ts";
import type { Places } from "./players.ts";
import { openStage, type StageClient } from "./stage-client.ts";
import { shuffled } from "./stats.ts";

/** What one player took, in the order of its runs; milliseconds and megabytes. */
export interface Measured {
  readonly name: string;
  readonly add: number[];
  readonly del: number[];
  /** The largest resident set of one program, or of a burst the sum of proportional shares. */
  readonly megabytes: number[];
}

/** Runs before the first that counts. */
const WARM_UP = 3;
const MEMORY_RUNS = 5;
/** Containers attached at once when a host is filled. */
const AT_ONCE = 4;

export async function measure(
  name: CaseName,
  placesOf: (player: number) => Places,
  varLib: string,
  options: Options,
  random: () => number,
): Promise<readonly Measured[]> {
  const of = caseOf(name);
  await using stages = new AsyncDisposableStack();
  const rounds = of.burst === undefined ? options.runs : options.bursts;
  const crowd = of.crowd === true ? options.others : 0;
  const measuredFrom = crowd + 1;
  const containers = crowd + (of.burst ?? rounds + WARM_UP + MEMORY_RUNS + 1);
  const players: { readonly stage: StageClient; readonly measured: Measured }[] = [];
  for (const [i, player] of of.players.entries()) {
    const folder = join(varLib, `${name}-${i}`);
    const setup = { case: name, player: i, places: placesOf(i), varLib: folder, containers };
    const stage = stages.use(await openStage(setup));
    await stage.order({ do: "prove", container: measuredFrom });
    for (let at = 1; at <= crowd; at += AT_ONCE)
      await stage.order(burst("ADD", at, Math.min(AT_ONCE, crowd + 1 - at), false));
    players.push({ stage, measured: { name: player.name, add: [], del: [], megabytes: [] } });
  }
  for (let round = -(of.burst === undefined ? WARM_UP : 1); round < rounds; round++)
    for (const { stage, measured } of shuffled(players, random)) {
      const [add, del] = await oneRound(stage, of, measuredFrom + round + WARM_UP + 1);
      if (round < 0) continue;
      measured.add.push(add);
      measured.del.push(del);
    }
  const spare = measuredFrom + rounds + WARM_UP + 1;
  for (const { stage, measured } of players) measured.megabytes.push(...(await memoryOf(stage, of, spare)));
  return players.map((p) => p.measured);
}

const burst = (verb: Verb, from: number, count: number, sample: boolean) =>
  ({ do: "burst", verb, from, count, sample }) as const;

async function oneRound(stage: StageClient, of: Case, container: number): Promise<readonly [number, number]> {
  const times: number[] = [];
  for (const verb of ["ADD", "DEL"] as const) {
    const order =
      of.burst === undefined ? ({ do: "verb", verb, container } as const) : burst(verb, 1, of.burst, false);
    times.push((await stage.order(order)).ms ?? 0);
  }
  return [times[0] ?? 0, times[1] ?? 0];
}

async function memoryOf(stage: StageClient, of: Case, from: number): Promise<number[]> {
  if (of.burst !== undefined) {
    const { megabytes = 0 } = await stage.order(burst("ADD", 1, of.burst, true));
    await stage.order(burst("DEL", 1, of.burst, false));
    return [megabytes];
  }
  const out: number[] = [];
  for (let i = 0; i < MEMORY_RUNS; i++) {
    const { megabytes } = await stage.order({ do: "memory", container: from + i });
    if (megabytes !== undefined) out.push(megabytes);
  }
  return out;
}
