/**
 * The agent with a clock and hands: it tells the core what happens, and carries out what the core wants. What a kernel, a
 * store, a file or a firewall is, its ports know.
 */
import { isNetError } from "../errors.ts";
import { type HostState, nothing } from "../fabric/host-state.ts";
import type { Report } from "../fabric/reconcile/report.ts";
import type { Publics, Subnets } from "../fabric/model.ts";
import type { CommandWish } from "../fabric/commands/wish.ts";
import type { Performed } from "../providers/flannel/firewall.ts";
import type { ForwarderStatus } from "../forwarder/client.ts";
import type { Registry } from "../providers/flannel/registry.ts";
import type { CommandReport } from "./commands/runner.ts";
import type { EventLog } from "./event-log.ts";
import type { Counters } from "./metrics.ts";
import type {
  AgentEvent,
  AgentState,
  CarrierWish,
  Effect,
  Host,
  JobName,
  Known,
  Offer,
  Rules,
} from "./model.ts";
import { begin, step } from "./step.ts";

export interface Ports {
  readonly rules: Rules;
  readonly registry: Registry;
  /** `instead`: what it announces if the store may say it and does not answer. `withKeys`: its keys, too. `before`: its addresses until now. */
  readonly lookAtHost: (
    whole: Subnets,
    how: { readonly instead?: Publics; readonly before?: Publics; readonly withKeys: boolean },
  ) => Promise<Host>;
  /** Changes the kernel until it has what is wanted. `keep`: and takes nothing out of it. */
  readonly reconcile: (
    wanted: HostState,
    how: { readonly full: boolean; readonly keep: boolean },
  ) => Promise<Report>;
  /** Sees to it that the process that carries packets runs and does this, or that there is none; what it says of itself. */
  readonly carry: (wish: CarrierWish | undefined) => Promise<ForwarderStatus | undefined>;
  /** Runs an operator's commands until what they have done is this, or nothing. */
  readonly command: (wish: CommandWish | undefined) => Promise<CommandReport>;
  /** An earlier agent has run commands. */
  readonly commandsLeft: boolean;
  /** Writes the file that containers' addresses are made of, or removes it. */
  readonly publish: (offer: Offer | undefined) => Promise<void>;
  /** Puts the firewall's rules, or removes them; says what had to be changed, and what cannot be. */
  readonly protect: (offer: Offer | undefined) => Promise<Performed>;
  /** Writes what the next agent of this host finds, or sees to it that it finds nothing. */
  readonly remember: (known: Known | undefined) => Promise<void>;
  readonly events: EventLog;
  readonly counters: Counters;
  readonly onReady: (ready: boolean) => void;
}

export interface Shell {
  readonly state: () => AgentState;
  /** What the kernel was last asked to hold. */
  readonly wanted: () => HostState;
  readonly tell: (event: AgentEvent) => void;
  /** Resolves when the agent has ended; the data plane stays. */
  readonly ended: Promise<void>;
}

/** Failures are told in one line. */
export const reason = (e: unknown): string => (e instanceof Error ? e.message : String(e)).slice(0, 1_000);

/** Milliseconds since the epoch by a clock that nobody sets: what is due must not wait until a clock that was put back has caught up. */
const now = (): number => performance.timeOrigin + performance.now();

export interface Beginning {
  /** The subnets that this host's containers were given last. */
  readonly before?: Subnets | undefined;
  /** What was found of an earlier agent; told before anything else. */
  readonly found?: AgentEvent | undefined;
}

/** Begins to run. */
export function runAgent(ports: Ports, { before, found }: Beginning = {}): Shell {
  let state = begin(now(), before, ports.commandsLeft);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = Promise.withResolvers<void>();
  /** What happens while an event is being dealt with waits for its turn. */
  const waiting: AgentEvent[] = [];
  let busy = false;

  const tell = (event: AgentEvent): void => {
    waiting.push(event);
    if (busy) return;
    busy = true;
    try {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) advance(next);
    } finally {
      busy = false;
    }
  };
  const hands = makeHands(ports, tell, end.resolve);
  const advance = (event: AgentEvent): void => {
    const at = now();
    if (event.kind === "failed") ports.counters.failed(event.job);
    const done = step(state, event, { at, chance: Math.random() }, ports.rules);
    state = done.state;
    for (const effect of done.effects) hands.carryOut(effect);
    clearTimeout(timer);
    if (Number.isFinite(done.wakeAt))
      timer = setTimeout(() => tell({ kind: "time" }), Math.max(1, done.wakeAt - at));
  };
  if (found !== undefined) tell(found);
  tell({ kind: "time" });
  return { state: () => state, wanted: hands.wanted, tell, ended: end.promise };
}

type Of<K extends Effect["kind"]> = Extract<Effect, { kind: K }>;

/** Carries out what the core wants, and tells it what became of it. */
function makeHands(
  { registry, events, counters, ...ports }: Ports,
  tell: (event: AgentEvent) => void,
  end: () => void,
): { carryOut(effect: Effect): void; wanted(): HostState } {
  let wanted = nothing;
  let holding = new AbortController();
  let watching = new AbortController();
  const once = (job: JobName, work: () => Promise<AgentEvent>): void =>
    void work().then(tell, (e: unknown) => tell({ kind: "failed", job, why: reason(e) }));

  const doers: { readonly [K in Effect["kind"]]: (effect: Of<K>) => void } = {
    "read-config": () => once("config", () => readConfig(registry)),
    "look-at-host": ({ whole, ...how }) =>
      once("host", async () => {
        const from = performance.now();
        const host = await ports.lookAtHost(whole, how);
        return { kind: "host-read", host, tookMs: performance.now() - from };
      }),
    "watch-nodes": () => {
      watching.abort();
      watching = new AbortController();
      const { signal } = watching;
      follow("nodes", signal, () => asEvents("nodes", registry.nodes(signal)), tell);
    },
    acquire: (effect) =>
      once("lease", async () => ({
        kind: "acquired",
        lease: await registry.acquire(effect.wanted, effect.before),
      })),
    hold: ({ lease }) => {
      holding.abort();
      holding = new AbortController();
      const { signal } = holding;
      follow("hold", signal, () => asEvents("lease", registry.hold(lease, signal)), tell);
    },
    release: ({ lease }) => {
      holding.abort();
      once("release", async () => (await registry.release(lease), { kind: "done", job: "release" }));
    },
    reconcile: (effect) => {
      wanted = effect.wanted;
      once("kernel", async () => {
        const from = performance.now();
        const report = await ports.reconcile(effect.wanted, effect);
        const tookMs = performance.now() - from;
        counters.reconciled(report, tookMs);
        return { kind: "reconciled", report, tookMs };
      });
    },
    carry: ({ wish }) =>
      once("carrier", async () => {
        const forwarder = await ports.carry(wish);
        return { kind: "done", job: "carrier", ...(forwarder === undefined ? {} : { forwarder }) };
      }),
    command: ({ wish }) =>
      once("commands", async () => ({ kind: "commanded", report: await ports.command(wish) })),
    publish: ({ offer }) =>
      once("file", async () => (await ports.publish(offer), { kind: "done", job: "file" })),
    protect: ({ offer }) =>
      once("firewall", async () => {
        const from = performance.now();
        const done = await ports.protect(offer);
        return { kind: "protected", ...done, tookMs: performance.now() - from };
      }),
    remember: ({ known }) =>
      once("memory", async () => (await ports.remember(known), { kind: "done", job: "memory" })),
    tell: ({ telling }) => void events.add(telling, Date.now()),
    ready: ({ ready }) => ports.onReady(ready),
    end: () => {
      holding.abort();
      watching.abort();
      end();
    },
  };
  return {
    carryOut: (effect) => (doers[effect.kind] as (e: Effect) => void)(effect),
    wanted: () => wanted,
  };
}

/** That a store has none is no failure of the store. */
async function readConfig(registry: Registry): Promise<AgentEvent> {
  try {
    return { kind: "config-read", text: await registry.networkConfig() };
  } catch (e) {
    if (!isNetError(e, "config/not-found")) throw e;
    const { next } = e.detail;
    return { kind: "config-missing", why: next === undefined ? e.message : `${e.message}: ${next}` };
  }
}

/**
 * Tells what a stream says until its signal. That the nodes' ends before is a failure of the job. That of a lease does so when
 * it was lost, which it has told, and when this host takes another, which is told by who takes it.
 */
function follow(
  job: JobName,
  signal: AbortSignal,
  open: () => AsyncIterable<AgentEvent>,
  tell: (event: AgentEvent) => void,
): void {
  const run = async (): Promise<void> => {
    for await (const event of open()) {
      if (signal.aborted) return;
      tell(event);
    }
    if (job === "nodes") throw new Error("the store ended the conversation");
  };
  run().catch((e: unknown) => {
    if (!signal.aborted) tell({ kind: "failed", job, why: reason(e) });
  });
}

/** The news of a stream, each as an event of that kind. */
async function* asEvents<K extends "nodes" | "lease", N>(
  kind: K,
  stream: AsyncIterable<N>,
): AsyncIterable<{ readonly kind: K; readonly news: N }> {
  for await (const news of stream) yield { kind, news };
}
