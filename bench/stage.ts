/**
 * A stage: one process for one player in one case, started by `unshare` in a network and a mount namespace of its own, so
 * that it is a host of its own and leaves nothing when it ends. `/run` is a tmpfs and `/var/lib` a folder on disk, as on
 * a real host. It reads orders from standard input, one a line, and answers each with a line.
 */
import { mkdirSync } from "node:fs";
import { type Case, type CaseName, caseOf, type Player } from "./cases.ts";
import { command } from "../scripts/command.ts";
import { peakOf, sampleTotal } from "./memory.ts";
import { callsOf, type Container, perform, performBeside, type Places, prepare } from "./players.ts";
import type { Verb } from "./neutral-runtime.ts";
import { msUntilReached, type PrintedResult, prove, proveGone } from "./proof.ts";

export interface StageSetup {
  readonly case: CaseName;
  /** Index in the case's list. */
  readonly player: number;
  readonly places: Places;
  /** A folder on disk that becomes this host's `/var/lib`. */
  readonly varLib: string;
  readonly containers: number;
}

export type Order =
  | { readonly do: "setup"; readonly setup: StageSetup }
  /** Times one verb for one container. */
  | { readonly do: "verb"; readonly verb: Verb; readonly container: number }
  /** The same for several containers at once, from the first start to the last exit. */
  | {
      readonly do: "burst";
      readonly verb: Verb;
      readonly from: number;
      readonly count: number;
      readonly sample: boolean;
    }
  /** Attaches a container, has it serve, detaches it and looks whether it is gone. Not timed. */
  | { readonly do: "prove"; readonly container: number }
  /** The memory that the largest program of one ADD and DEL takes. */
  | { readonly do: "memory"; readonly container: number };

/** Milliseconds of `verb` and `burst`, megabytes of `memory` and of a sampled burst. */
export interface Answer {
  readonly ms?: number;
  readonly megabytes?: number;
  readonly error?: string;
}

interface Stage {
  readonly of: Case;
  readonly player: Player;
  readonly places: Places;
  /** Results of ADD, by container, for the DEL of versions that want them. */
  readonly results: Map<number, unknown>;
}

async function setUp({ case: name, player: index, places, varLib, containers }: StageSetup): Promise<Stage> {
  const of = caseOf(name);
  const player = of.players[index];
  if (player === undefined) throw new RangeError(`case ${name} has no player ${index}`);
  await command(["mount", "-t", "tmpfs", "-o", "mode=755", "bench", "/run"]);
  mkdirSync(varLib, { recursive: true });
  await command(["mount", "--bind", varLib, "/var/lib"]);
  await command(["ip", "link", "set", "lo", "up"]);
  for (let n = 1; n <= containers; n++) await command(["ip", "netns", "add", `c${n}`]);
  await prepare(of, player);
  return { of, player, places, results: new Map() };
}

const container = (number: number): Container => ({ number, netns: `/run/netns/c${number}` });

async function verb({ of, player, places, results }: Stage, which: Verb, number: number): Promise<Answer> {
  const { ms, stdout } = perform(of, player, places, which, container(number), results.get(number));
  if (which === "DEL" || !stdout.startsWith("{")) return { ms };
  const result = JSON.parse(stdout) as PrintedResult;
  results.set(number, result);
  return { ms: of.untilReached ? ms + (await msUntilReached(result)) : ms };
}

async function burst(stage: Stage, order: Extract<Order, { do: "burst" }>): Promise<Answer> {
  const { of, player, places, results } = stage;
  const running = new Set<number>();
  const sampler = order.sample ? sampleTotal(() => running) : undefined;
  const started = performance.now();
  const lanes = Array.from({ length: order.count }, async (_, i) => {
    const n = order.from + i;
    const stdout = await performBeside(of, player, places, order.verb, container(n), results.get(n), (pid) =>
      running.add(pid),
    );
    if (order.verb === "ADD") results.set(n, JSON.parse(stdout));
  });
  await Promise.all(lanes);
  const ms = performance.now() - started;
  return sampler === undefined ? { ms } : { ms, megabytes: sampler.stop() };
}

async function proveWorks(stage: Stage, number: number): Promise<Answer> {
  const { of, player, places } = stage;
  const { stdout } = perform(of, player, places, "ADD", container(number), undefined);
  if (player.kind === "plugins" || player.kind === "command") {
    await prove(of, container(number), JSON.parse(stdout));
    stage.results.set(number, JSON.parse(stdout));
  }
  perform(of, player, places, "DEL", container(number), stage.results.get(number));
  if (player.kind === "plugins" || player.kind === "command") await proveGone(of, container(number));
  return {};
}

async function memory({ of, player, places, results }: Stage, number: number): Promise<Answer> {
  let megabytes = 0;
  for (const which of ["ADD", "DEL"] as const) {
    const calls = callsOf(of, player, places, which, container(number), results.get(number));
    let stdout = "";
    for (let next = calls.next(stdout); next.done !== true; next = calls.next(stdout)) {
      const done = await peakOf(next.value);
      megabytes = Math.max(megabytes, done.megabytes);
      stdout = done.stdout;
    }
    if (which === "ADD" && stdout.startsWith("{")) results.set(number, JSON.parse(stdout));
  }
  return megabytes === 0 ? {} : { megabytes };
}

async function carryOut(stage: Stage, order: Exclude<Order, { do: "setup" }>): Promise<Answer> {
  switch (order.do) {
    case "verb":
      return verb(stage, order.verb, order.container);
    case "burst":
      return burst(stage, order);
    case "prove":
      return proveWorks(stage, order.container);
    case "memory":
      return memory(stage, order.container);
  }
}

async function main(): Promise<void> {
  let stage: Stage | undefined;
  for await (const line of console) {
    if (line === "") break;
    const order = JSON.parse(line) as Order;
    let answer: Answer = {};
    try {
      if (order.do === "setup") stage = await setUp(order.setup);
      else if (stage === undefined) throw new Error("the first order must be setup");
      else answer = await carryOut(stage, order);
    } catch (e) {
      answer = { error: e instanceof Error ? e.message : String(e) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

if (import.meta.main) await main();
