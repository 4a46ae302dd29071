/** What becomes of the process that carries packets: that it runs, what it says of itself, and its end. Pure. */
import type { ForwarderStatus } from "../forwarder/client.ts";
import { asFull, dueAt, NEVER, succeeded } from "./jobs.ts";
import type { AgentState, Now, Rules } from "./model.ts";
import { type Telling, telling } from "./tellings.ts";

interface Folded {
  readonly state: AgentState;
  readonly tellings: readonly Telling[];
}

export function foldCarrierLost(state: AgentState, now: Now): Folded {
  if (state.carriage?.wish === undefined) return { state, tellings: [] };
  const { forwarder: _, ...rest } = state;
  const text = "the process that carries packets has ended; it is started again";
  return { state: dueAt(rest, "carrier", now.at), tellings: [telling("carrier-lost", text)] };
}

/** It is asked again from time to time: one that hangs tells nobody. */
export function foldCarried(
  state: AgentState,
  said: ForwarderStatus | undefined,
  now: Now,
  rules: Rules,
): Folded {
  const period = state.carrying?.wish === undefined ? NEVER : rules.periods.carrier;
  const { carrying, forwarder: _, ...rest } = succeeded(state, "carrier", now, period);
  const known = said === undefined ? rest : { ...rest, forwarder: said };
  const carried = carrying === undefined ? known : { ...known, carried: carrying };
  // The device that it has made gets address and routes now, whether or not the kernel told of it.
  const waits = carrying?.wish !== undefined && carried.kernel.triedFor !== carried.lease?.node.id;
  const next = waits ? dueAt(asFull(carried), "kernel", now.at) : carried;
  if (state.complaints.carrier === undefined) return { state: next, tellings: [] };
  return { state: next, tellings: [telling("carrier-right", "the process that carries packets runs")] };
}
