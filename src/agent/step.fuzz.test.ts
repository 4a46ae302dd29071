/**
 * The agent's core against a host and a store that answer late, in any order, with failures, and change meanwhile. When all
 * is well again it becomes ready, and after `drain` nothing of it is left.
 */
import { expect, test } from "bun:test";
import type { BackendData, FabricNode } from "../fabric/model.ts";
import { agent, commanded, CONFIG, hostAt, leaseOf, nodeOf, reconciled } from "../testing/agent-core.ts";
import { diceOf, seed } from "../testing/seed.ts";
import type { AgentEvent, AgentState, Effect, JobName } from "./model.ts";

type Dice = (below: number) => number;
const pick = <T>(dice: Dice, first: T, ...more: readonly T[]): T =>
  [first, ...more][dice(more.length + 1)] ?? first;

const jobs: Readonly<Partial<Record<Effect["kind"], JobName>>> = {
  "read-config": "config",
  "look-at-host": "host",
  "watch-nodes": "nodes",
  acquire: "lease",
  hold: "hold",
  reconcile: "kernel",
  publish: "file",
  carry: "carrier",
  command: "commands",
  protect: "firewall",
  remember: "memory",
  release: "release",
};

/** What the agent lives in. Nothing of it fails once it is `calm`. */
function worldOf(dice: Dice) {
  const extension = "10.0.0.0/16 extension";
  const world = {
    calm: false,
    config: pick(dice, CONFIG, extension),
    at: "192.0.2.1",
    subnet: "10.0.1.0/24",
  };
  const nodes = new Map<string, FabricNode>();
  const backend = (): BackendData =>
    world.config === extension ? { type: "extension", v4: "said" } : { type: "vxlan", v4: { name: "own" } };
  const own = (to: BackendData = backend()) => leaseOf(world.subnet, world.at, to);
  const answers: { readonly [K in Effect["kind"]]?: (e: Extract<Effect, { kind: K }>) => AgentEvent } = {
    "read-config": () => ({ kind: "config-read", text: world.config }),
    "look-at-host": () => ({ kind: "host-read", host: hostAt(world.at), tookMs: dice(10) }),
    "watch-nodes": () => ({ kind: "nodes", news: { kind: "all", nodes: [...nodes.values()] } }),
    acquire: ({ wanted }) => ({ kind: "acquired", lease: own(wanted.backend) }),
    reconcile: () => reconciled(world.calm || dice(5) > 0 ? {} : { waiting: 1, retryInMs: 500 }),
    publish: () => ({ kind: "done", job: "file" }),
    carry: () => ({ kind: "done", job: "carrier" }),
    remember: () => ({ kind: "done", job: "memory" }),
    release: () => ({ kind: "done", job: "release" }),
    protect: () => ({ kind: "protected", mended: [], tookMs: 3 }),
    command: ({ wish }) => {
      const more = !world.calm && dice(3) === 0;
      return commanded({
        said: "said",
        started: wish?.own !== undefined && !more,
        more,
        clear: !wish && !more,
      });
    },
  };
  const changes: readonly ((state: AgentState) => AgentEvent | undefined)[] = [
    () => void (world.config = pick(dice, CONFIG, extension)),
    () => {
      world.at = pick(dice, "192.0.2.1", "192.0.2.8");
      return { kind: "kernel-changed", what: "host" };
    },
    ({ lease }) => {
      world.subnet = pick(dice, "10.0.1.0/24", "10.0.7.0/24");
      return lease && { kind: "lease", news: { kind: "lost", why: "taken" } };
    },
    ({ lease }) => lease && { kind: "lease", news: { kind: "renewed", lease } },
    ({ jobs: { hold } }) => (hold.running ? { kind: "failed", job: "hold", why: "ended" } : undefined),
    () => ({ kind: "kernel-changed", what: pick(dice, "objects", "rules") }),
    () => ({ kind: "carrier-lost" }),
    () => ({ kind: "listened", to: pick(dice, "objects", "rules"), ...(dice(2) > 0 ? { why: "deaf" } : {}) }),
    (state) => {
      const node = { ...nodeOf(`10.0.${20 + dice(3)}.0/24`, `192.0.2.${20 + dice(3)}`), backend: backend() };
      const isGone = dice(2) > 0 && nodes.delete(node.id);
      if (!isGone) nodes.set(node.id, node);
      if (state.nodes === undefined || !state.jobs.nodes.running) return undefined;
      return { kind: "nodes", news: isGone ? { kind: "gone", id: node.id } : { kind: "put", node } };
    },
  ];
  return {
    world,
    own,
    answer: (effect: Effect): AgentEvent | undefined =>
      (answers[effect.kind] as ((e: Effect) => AgentEvent) | undefined)?.(effect),
    change: (state: AgentState) => pick(dice, () => undefined, ...changes)(state),
  };
}

/** A life in so many steps, and then a calm one. Says what is wrong with its end. */
function live(dice: Dice, steps: number): string | undefined {
  const { world, own, answer, change } = worldOf(dice);
  const a = agent(pick(dice, "10.0.1.0/24", undefined), dice(2) > 0);
  const asked: Effect[] = [];
  const tell = (event: AgentEvent | undefined): void => {
    if (event !== undefined) a.tell(event);
    asked.push(...a.look().filter(({ kind }) => kind !== "hold" && jobs[kind] !== undefined));
  };
  const reply = (at: number, fails: boolean): void => {
    for (const effect of asked.splice(at, 1)) {
      const job = jobs[effect.kind];
      tell(fails && job !== undefined ? { kind: "failed", job, why: pick(dice, "a", "b") } : answer(effect));
    }
  };
  const pass = (ms: number): void => {
    a.pass(ms);
    tell(undefined);
  };
  if (dice(2) > 0)
    tell({ kind: "recalled", what: { at: 1, config: world.config, lease: own(), nodes: new Map() } });
  tell({ kind: "time" });
  for (let i = 0; i < steps; i++) {
    const what = dice(10);
    if (what < 6 && asked.length > 0) reply(dice(asked.length), dice(4) === 0);
    else if (what < 8) tell(change(a.state));
    else pass(dice(3_000));
  }
  world.calm = true;
  const leaves = dice(3) === 0;
  if (leaves) tell({ kind: "drain" });
  for (let i = 0; i < 40; i++) {
    for (let replies = 0; asked.length > 0; replies++) {
      if (replies === 500) return "it asks without end";
      reply(0, false);
    }
    pass(5_000);
  }
  if (leaves) return a.state.mode === "drained" ? undefined : `it is ${a.state.mode}`;
  return a.state.ready ? undefined : "it is not ready";
}

test("whatever happened, an agent is ready when all is well again, and leaves when it is told to", () => {
  for (let n = 0; n < 400; n++) {
    const why = live(diceOf(seed, `step ${n}`), 20 + (n % 60));
    expect(why, `life ${n} of seed ${seed}`).toBeUndefined();
  }
});
