/** What an earlier agent knew, as the core takes it up. Pure. */
import type { IpPrefix } from "../net/ip.ts";
import { dueAt } from "./jobs.ts";
import type { AgentState, Now, Recalled, Rules } from "./model.ts";
import { showSubnets } from "./show.ts";
import { type Telling, telling } from "./tellings.ts";

interface Folded {
  readonly state: AgentState;
  readonly tellings: readonly Telling[];
}

/** The kernel is repaired by it, and the store's word counts as soon as it says one. */
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
  const next = { ...state, joined: { text: config, network: read.value }, self: lease.node, recalled };
  const text = `goes by what was known at ${new Date(at).toISOString()} until the store answers: ${showSubnets(subnets)} and ${nodes.size} nodes`;
  return { state: dueAt(next, "host", now.at), tellings: [telling("recalled", text)] };
}

const isOther = (before: IpPrefix | undefined, known: IpPrefix | undefined): boolean =>
  before !== undefined && before.text !== known?.text;
