/** What an earlier agent knew, as the core takes it up. Pure. */
import type { IpPrefix } from "../net/ip.ts";
import { dueAt, withJob } from "./jobs.ts";
import type { AgentState, Now, Recalled, Rules } from "./model.ts";
import { showSubnets } from "./show.ts";
import { type Telling, telling } from "./tellings.ts";

interface Folded {
  readonly state: AgentState;
  readonly tellings: readonly Telling[];
}

/** How long, in milliseconds, the store may take to tell its nodes before the kernel is repaired by what was known. */
const STORE_MS = 2_000;

/**
 * The kernel is repaired by it once the store has failed, or has not told its nodes for a while: until then the kernel has what the last
 * agent gave it, which may be newer. The store's word counts as soon as it says one.
 */
export function foldRecalled(state: AgentState, what: Recalled, now: Now, rules: Rules): Folded {
  if (state.mode !== "running" || state.config !== undefined || state.self !== undefined)
    return { state, tellings: [] };
  const { at, config, lease, nodes } = what;
  const { subnets } = lease.node;
  const refused = (why: string): Folded => ({
    state,
    tellings: [telling("memory-failed", `what was known cannot be used: ${why}`)],
  });
  const read = rules.readNetwork(config);
  if (!read.ok) return refused(`its configuration ${read.why}`);
  const { before = {} } = state;
  // Containers were given addresses of another one since: by another daemon, or by an agent that could not write this.
  if (isOther(before.v4, subnets.v4) || isOther(before.v6, subnets.v6))
    return refused(`this host had ${showSubnets(subnets)}, and ${showSubnets(before)} since`);
  const recalled = { at, nodes };
  const known = { ...state, joined: { text: config, network: read.value }, self: lease.node, recalled };
  const next = withJob(known, "kernel", { notBefore: now.at + STORE_MS });
  const text = `goes by what was known at ${new Date(at).toISOString()} until the store answers: ${showSubnets(subnets)} and ${nodes.size} nodes`;
  return { state: dueAt(next, "host", now.at), tellings: [telling("recalled", text)] };
}

/** The store, of which no failure is known, has begun to answer: its nodes are next, and have as long again. */
export const waitingAnew = (state: AgentState, now: Now): AgentState =>
  state.recalled !== undefined && state.nodes === undefined && state.jobs.kernel.notBefore > now.at
    ? withJob(state, "kernel", { notBefore: now.at + STORE_MS })
    : state;

/** What was known is all there is for now, or is of no more use: nothing is waited for. */
export const withoutWaiting = (state: AgentState): AgentState =>
  state.recalled === undefined ? state : withJob(state, "kernel", { notBefore: 0 });

const isOther = (before: IpPrefix | undefined, known: IpPrefix | undefined): boolean =>
  before !== undefined && before.text !== known?.text;
