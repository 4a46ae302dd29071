/** What is to be done now, by what the agent knows: each job that is needed, due and does not run begins. Pure. */
import { nothing } from "../fabric/host-state.ts";
import { NEVER, startOf, withJob } from "./jobs.ts";
import {
  type AgentState,
  type Carriage,
  type Effect,
  type JobName,
  jobNames,
  type Now,
  type Rules,
} from "./model.ts";
import { announcementInputs, announcementKey, announcementOf } from "./announcement.ts";
import { commandsChanged, commandsTried, commandsWish, needsCommands } from "./commands/job.ts";
import { fileWish, firewallWish, keyOfOffer } from "./offer.ts";
import { hasCarrier, knownNodes, makeView, tellTroubles } from "./view.ts";
import { telling } from "./tellings.ts";

interface Begun {
  readonly state: AgentState;
  readonly effects: readonly Effect[];
}
/** A job: whether it is needed, whether at once or when it is due, and how it begins. */
interface Work {
  readonly needed: (state: AgentState) => boolean;
  /** True: as soon as it may. Otherwise when it is due. */
  readonly atOnce: (state: AgentState) => boolean;
  readonly begin: (state: AgentState, now: Now, rules: Rules) => Begun;
}

const effect = (state: AgentState, ...effects: readonly Effect[]): Begun => ({ state, effects });
const always = (): true => true;
const whenDue = (): false => false;
const isRunning = ({ mode }: AgentState): boolean => mode === "running";
const isLeaving = ({ mode }: AgentState): boolean => mode === "draining";

/** Everything is known that the kernel's state is made of. */
function isMember(state: AgentState): boolean {
  const { self, joined, host } = state;
  const known = [self, joined, host, knownNodes(state)];
  return isRunning(state) && !known.includes(undefined);
}

const work: { readonly [J in JobName]: Work } = {
  config: { needed: isRunning, atOnce: whenDue, begin: (state) => effect(state, { kind: "read-config" }) },
  host: {
    needed: (state) => isRunning(state) && (state.config ?? state.joined) !== undefined,
    atOnce: whenDue,
    begin: lookAtHost,
  },
  nodes: {
    needed: (state) => isRunning(state) && state.config !== undefined,
    atOnce: always,
    begin: (state) => effect(state, { kind: "watch-nodes" }),
  },
  release: {
    needed: (state) => isLeaving(state) && state.lease !== undefined,
    atOnce: always,
    begin: (state) =>
      effect(state, ...(state.lease ? [{ kind: "release", lease: state.lease } as const] : [])),
  },
  lease: {
    needed: (state) =>
      isRunning(state) &&
      !state.jobs.host.running &&
      announcementKey(state) !== undefined &&
      announcementKey(state) !== state.announced,
    atOnce: always,
    begin: beginLease,
  },
  hold: {
    needed: (state) => isRunning(state) && state.lease !== undefined,
    atOnce: always,
    begin: (state) => effect(state, ...(state.lease ? [{ kind: "hold", lease: state.lease } as const] : [])),
  },
  kernel: {
    needed: (state) =>
      isMember(state) || (isLeaving(state) && state.lease === undefined && !state.kernel.empty),
    atOnce: isLeaving,
    begin: beginKernel,
  },
  carrier: {
    needed: ({ mode, carriage }) => (mode === "running" || mode === "draining") && carriage !== undefined,
    atOnce: ({ carriage, carried }) => carriage !== carried,
    begin: (state) => {
      if (state.carriage === undefined) return effect(state);
      const { wish } = state.carriage;
      return effect({ ...state, carrying: state.carriage }, { kind: "carry", wish });
    },
  },
  commands: { needed: needsCommands, atOnce: commandsChanged, begin: beginCommands },
  firewall: {
    needed: (state) => firewallWish(state) !== "keep",
    atOnce: (state) => keyOfOffer(firewallWish(state)) !== state.protected,
    begin: (state) => {
      const wish = firewallWish(state);
      if (wish === "keep") return effect(state);
      const doing = { ...state.doing, firewall: keyOfOffer(wish) };
      return effect({ ...state, doing }, { kind: "protect", offer: wish });
    },
  },
  file: {
    needed: (state) => fileWish(state) !== "keep",
    atOnce: (state) => keyOfOffer(fileWish(state)) !== state.published,
    begin: (state) => {
      const wish = fileWish(state);
      if (wish === "keep") return effect(state);
      const doing = { ...state.doing, file: keyOfOffer(wish) };
      return effect({ ...state, doing }, { kind: "publish", offer: wish });
    },
  },
  memory: {
    needed: (state) => toKeep(state) !== undefined,
    atOnce: (state) => !isKept(state),
    begin: (state) => {
      const keeping = toKeep(state);
      if (keeping === undefined) return effect(state);
      return effect(
        { ...state, keeping },
        { kind: "remember", known: keeping === "nothing" ? undefined : keeping },
      );
    },
  },
};

function lookAtHost(state: AgentState): Begun {
  const { config, joined, recalled, self } = state;
  const { network } = config ?? joined ?? {};
  if (network === undefined) return effect(state);
  // The kernel goes by the one until there is a subnet by the other.
  const withKeys = [config, joined].some((one) => one?.network.transport.needsKeys === true);
  const instead = recalled && self?.publics;
  const before = state.host?.facts.local ?? self?.publics;
  const how = {
    withKeys,
    ...(instead === undefined ? {} : { instead }),
    ...(before === undefined ? {} : { before }),
  };
  return effect(state, { kind: "look-at-host", whole: network.whole, ...how });
}

/** What the next agent is to find: what the store has told while this host had a subnet. Undefined: whatever is there. */
function toKeep(state: AgentState): AgentState["kept"] {
  if (isLeaving(state)) return "nothing";
  const { joined, lease, nodes } = state;
  if (!isRunning(state) || joined === undefined || lease === undefined || nodes === undefined)
    return undefined;
  return { config: joined.text, lease, nodes };
}

function isKept(state: AgentState): boolean {
  const [wanted, kept] = [toKeep(state), state.kept];
  if (wanted === undefined || wanted === "nothing" || kept === undefined || kept === "nothing")
    return wanted === kept;
  return wanted.config === kept.config && wanted.lease === kept.lease && wanted.nodes === kept.nodes;
}

function beginLease(state: AgentState): Begun {
  const wanted = announcementOf(state);
  if (wanted === undefined) return effect(state);
  const doing = { ...state.doing, lease: announcementInputs(state) };
  const before = state.self?.subnets ?? state.before;
  return effect({ ...state, doing }, { kind: "acquire", wanted, before });
}

function beginCommands(state: AgentState): Begun {
  const wish = commandsWish(state);
  if (wish === "keep") return effect(state);
  const commands = { ...state.commands, left: true, doing: { wish } };
  return effect({ ...state, commands }, { kind: "command", wish });
}

const noCarriage = ({ carriage }: AgentState): Carriage =>
  carriage !== undefined && carriage.wish === undefined ? carriage : { wish: undefined };

function beginKernel(state: AgentState, now: Now, rules: Rules): Begun {
  if (isLeaving(state)) {
    const { view: _, ...rest } = state;
    const kernel = { ...state.kernel, goal: "nothing" as const };
    return effect(
      { ...rest, troubles: [], kernel, carriage: noCarriage(state) },
      { kind: "reconcile", wanted: nothing, full: true, keep: false },
    );
  }
  const made = makeView(state, rules);
  if (made === undefined) return effect(state);
  const full = state.kernel.full || now.at >= state.kernel.fullAt;
  const next: AgentState = {
    ...state,
    view: made.view,
    troubles: made.troubles,
    carriage: made.carriage,
    kernel: {
      ...state.kernel,
      full: false,
      fullAt: full ? now.at + rules.periods.kernel : state.kernel.fullAt,
      goal: "member",
      empty: false,
      links: made.wanted.links.map(({ name }) => name),
    },
  };
  return effect(
    next,
    ...tellTroubles(state.troubles, made.troubles).map((t) => ({ kind: "tell", telling: t }) as const),
    { kind: "reconcile", wanted: made.wanted, full, keep: state.nodes === undefined },
  );
}

/** Begins what can begin, and says when the next job can. */
export function decide(
  state: AgentState,
  now: Now,
  rules: Rules,
): { readonly state: AgentState; readonly effects: readonly Effect[]; readonly wakeAt: number } {
  let current = state;
  const effects: Effect[] = [];
  let wakeAt = NEVER;
  for (const name of jobNames) {
    const { needed, atOnce, begin } = work[name];
    const job = current.jobs[name];
    if (job.running || !needed(current)) continue;
    const from = atOnce(current) ? job.notBefore : startOf(job);
    if (from > now.at) {
      wakeAt = Math.min(wakeAt, from);
      continue;
    }
    const begun = begin(withJob(current, name, { running: true, due: NEVER }), now, rules);
    current = begun.state;
    effects.push(...begun.effects);
  }
  return { state: current, effects, wakeAt };
}

/** Whether this host can take containers, and whether it has left, told when it changes. */
export function settle(state: AgentState): Begun {
  if (isLeaving(state) && hasLeft(state))
    return effect(
      { ...state, mode: "drained", ready: false },
      { kind: "tell", telling: telling("drained", "nothing of the fabric is left on this host") },
      { kind: "ready", ready: false },
    );
  const ready = isReady(state);
  if (ready === state.ready) return effect(state);
  const text = ready
    ? "this host takes containers: subnet, kernel, firewall and file are in place"
    : "this host should not take new containers now";
  return effect(
    { ...state, ready },
    { kind: "tell", telling: telling(ready ? "ready" : "not-ready", text) },
    { kind: "ready", ready },
  );
}

/** A subnet that is being asked for may come yet, and has to be given back. A file that cannot be removed is told, and keeps nobody. */
const hasLeft = (state: AgentState): boolean =>
  state.lease === undefined &&
  !state.jobs.lease.running &&
  state.kernel.empty &&
  state.carriage !== undefined &&
  state.carried === state.carriage &&
  !state.commands.left &&
  (state.kept === "nothing" || state.jobs.memory.failures > 0) &&
  state.published === keyOfOffer(undefined) &&
  state.protected === keyOfOffer(undefined);

function isReady(state: AgentState): boolean {
  const wish = fileWish(state);
  return (
    isRunning(state) &&
    state.lease !== undefined &&
    wish !== "keep" &&
    wish !== undefined &&
    hasCarrier(state) &&
    commandsTried(state) &&
    state.published === keyOfOffer(wish) &&
    state.protected === keyOfOffer(firewallWish(state))
  );
}
