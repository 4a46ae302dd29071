/**
 * Garbage collection after the worst: containers are attached and detached at random, some of the processes are killed at
 * a random moment, and then GC is told which attachments are valid. Those stay as they are, and nothing of the others.
 */
import { cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { manyNetns } from "../../src/testing/netns.ts";
import { randomOf } from "../../src/testing/seed.ts";
import { difference } from "../faults/loop.ts";
import {
  add,
  call,
  type Chain,
  check,
  type Container,
  del,
  demand,
  gc,
  type Network,
  pluginsOf,
} from "./chains.ts";
import { atOnce } from "./crowd.ts";
import { linksOfHost } from "./host.ts";
import type { Result } from "./plugins.ts";

export interface Mix {
  readonly containers: number;
  /** ADDs and DELs of each container. */
  readonly steps: number;
  readonly parallel: number;
  readonly seed: number;
  /** No step is begun after so many milliseconds. */
  readonly limitMs: number;
}

/** What a runtime knows of a container. */
type Known =
  | { readonly kind: "detached" }
  | { readonly kind: "attached"; readonly result: Result }
  /** A call was killed; the result is there if that was a DEL. */
  | { readonly kind: "unsure"; readonly result?: Result };

/** Does it all. Returns what is wrong, a line each, how many were valid, and how many calls were killed. */
export async function faultsOfMix(
  heddle: HeddleBinary,
  chain: Chain,
  mix: Mix,
): Promise<{ readonly faults: readonly string[]; readonly valid: number; readonly killed: number }> {
  await using host = await cniHost(heddle);
  await using namespaces = await manyNetns(mix.containers);
  await linksOfHost(host, chain, mix.containers);
  const on: Network = { host, chain, size: mix.containers };
  const crowd: readonly Container[] = namespaces.all.map((netns, nth) => ({ netns, nth }));
  const paths = crowd.map(({ netns }) => netns.path);
  // Once before, for what is shared and stays, on the host and in each container.
  const began = performance.now();
  const faults = [...(await atOnce(mix.parallel, crowd, async (of) => del(on, of, await add(on, of))))];
  const roundMs = ((performance.now() - began) * mix.parallel) / mix.containers;
  const before = await host.snapshot(paths);
  const played = await play(on, crowd, mix, roundMs);
  const { valid } = played;
  faults.push(...played.faults);
  const checkValid = async (): Promise<void> => {
    faults.push(...(await atOnce(mix.parallel, [...valid], ([of, result]) => check(on, of, result))));
  };
  await checkValid();
  await gc(on, [...valid.keys()]);
  await checkValid();
  const left = await recorded(on);
  const wanted = new Set([...valid.keys()].map(({ netns }) => netns.name));
  for (const name of left.difference(wanted)) faults.push(`${name} is not valid and has a record after GC`);
  for (const name of wanted.difference(left)) faults.push(`${name} is valid and has no record after GC`);
  for (const [of, result] of valid) await del(on, of, result);
  faults.push(...difference(before, await host.snapshot(paths)));
  return { faults, valid: valid.size, killed: played.killed };
}

interface Played {
  readonly faults: readonly string[];
  readonly killed: number;
  /** With their results, the attachments that GC will be told of. */
  readonly valid: ReadonlyMap<Container, Result>;
}

/** The steps of every container. `roundMs`: how long ADD and DEL of the whole list take. */
async function play(
  on: Network,
  crowd: readonly Container[],
  { steps, parallel, seed, limitMs }: Mix,
  roundMs: number,
): Promise<Played> {
  const deadline = performance.now() + limitMs;
  const callMs = roundMs / (2 * on.chain.types.length);
  const valid = new Map<Container, Result>();
  let killed = 0;
  const faults = await atOnce(parallel, crowd, async (of) => {
    const random = randomOf(seed, of.nth);
    let known: Known = { kind: "detached" };
    for (let step = 0; step < steps && performance.now() < deadline; step++) {
      const dies = random() < KILLED;
      const kill = { of: Math.floor(random() * on.chain.types.length), afterMs: random() * 1.5 * callMs };
      const next = await stepOf(on, of, known, { ...(dies ? { kill } : {}), coin: random() });
      if (next.kind === "unsure" && next !== known) killed++;
      known = next;
    }
    if (known.kind === "detached" || known.result === undefined) return;
    // What a killed DEL has left whole may be called valid or not.
    if (known.kind === "attached" || (random() < 0.5 && (await passes(on, of, known.result))))
      valid.set(of, known.result);
  });
  return { faults, killed, valid };
}

/** The containers that have a record. */
async function recorded({ host }: Network): Promise<ReadonlySet<string>> {
  const { stdout } = await host.cli(["ps", "--json"], {});
  const listed = JSON.parse(stdout) as { containerId: string; state: string }[];
  return new Set(listed.filter((a) => a.state !== "no record").map((a) => a.containerId));
}

const KILLED = 0.4;

const passes = (on: Network, of: Container, result: Result): Promise<boolean> =>
  check(on, of, result).then(
    () => true,
    () => false,
  );

/** Which call of the list is killed, and when. */
interface Kill {
  readonly of: number;
  readonly afterMs: number;
}

/** One ADD or DEL of the whole list. After a kill the rest of the list is not called. */
async function stepOf(
  on: Network,
  of: Container,
  known: Known,
  { kill, coin }: { readonly kill?: Kill; readonly coin: number },
): Promise<Known> {
  const verb = known.kind === "detached" || (known.kind === "unsure" && coin < 0.5) ? "ADD" : "DEL";
  const result = known.kind === "detached" ? undefined : known.result;
  const entries = verb === "ADD" ? pluginsOf(on, of) : pluginsOf(on, of).toReversed();
  let last: Result | undefined = verb === "ADD" ? undefined : result;
  for (const [i, conf] of entries.entries()) {
    const dies = kill !== undefined && kill.of % entries.length === i;
    const under = dies ? ["timeout", "--foreground", "--signal=KILL", (kill.afterMs / 1e3).toFixed(4)] : [];
    const reply = await call(on, conf, { verb, of, result: last, bare: verb === "DEL" && coin < 0.5, under });
    if (DIED.includes(reply.code)) return { kind: "unsure", ...(verb === "DEL" && result ? { result } : {}) };
    // What a killed call has left whole is a live attachment, and refused as one.
    if (verb === "ADD" && known.kind === "unsure" && reply.error === LIVE) return known;
    demand(`${verb} of ${of.netns.name} by ${String(conf["type"])}, which was ${known.kind},`, reply);
    if (verb === "ADD") last = reply.result;
  }
  return verb === "ADD" ? { kind: "attached", result: last ?? {} } : { kind: "detached" };
}

/** 128 and the number of SIGKILL; or the time ran out as the process ended by itself, and nobody heard its answer. */
const DIED: readonly number[] = [137, 124];
const LIVE = 101;
