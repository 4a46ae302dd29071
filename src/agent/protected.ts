/** What becomes of a look at the firewall, and when its rules are somebody else's, too. Pure. */
import { FIRST_MS, LONGEST_MS, MINUTE_MS, REPAIRS } from "../fabric/reconcile/attempts.ts";
import { dueAt, succeeded, withJob } from "./jobs.ts";
import type { AgentEvent, AgentState, FirewallRepairs, Now, Rules } from "./model.ts";
import { bounded, type Telling, telling } from "./tellings.ts";

/** Longest rest between two looks at the host, or at its firewall. */
export const LOOK_PAUSE_MS = 5_000;

/** What the status calls the rules that somebody else changes again and again. */
export const firewallFights = ({ repairs }: AgentState): readonly string[] =>
  isFight(repairs) ? ["rules of the firewall"] : [];

const isFight = ({ at }: FirewallRepairs): boolean => at.length > REPAIRS;

/** The firewall is to be looked at, but not before the pause that a fight has made. */
export const askFirewall = (state: AgentState, at: number): AgentState =>
  dueAt(state, "firewall", Math.max(at, state.repairs.heldUntil));

export function foldProtected(
  state: AgentState,
  { mended, hindrances = [], tookMs = 0 }: Extract<AgentEvent, { kind: "protected" }>,
  { now, rules }: { readonly now: Now; readonly rules: Rules },
): { readonly state: AgentState; readonly tellings: readonly Telling[] } {
  const { firewall: done, ...doing } = state.doing;
  // What is put for the first time is no repair.
  const repaired = done !== undefined && done === state.protected ? mended : [];
  const repairs = repairsAfter(state.repairs, repaired.length > 0, now.at);
  const right = succeeded(state, "firewall", now, rules.periods.firewall);
  const timed = withJob(right, "firewall", {
    // Others may change their own rules all the time, and with many of them each look costs a processor a while.
    notBefore: now.at + Math.min(LOOK_PAUSE_MS, tookMs * 4),
    // What happens meanwhile waits; a new offer does not.
    due: Math.max(right.jobs.firewall.due, repairs.heldUntil),
  });
  const known = { ...timed, doing, repairs, hindrances, ...(done === undefined ? {} : { protected: done }) };
  const more = [...tellFight(state.repairs, repairs), ...tellHindrances(state.hindrances, hindrances)];
  if (state.complaints.firewall !== undefined)
    return { state: known, tellings: [telling("firewall-right", "the firewall has its rules"), ...more] };
  const told = repaired.map((what) =>
    telling("firewall-repaired", `${what} was changed or removed, and is right again`),
  );
  return { state: known, tellings: [...bounded(told, "rules"), ...more] };
}

function tellHindrances(before: readonly string[], after: readonly string[]): readonly Telling[] {
  const fresh = after
    .filter((text) => !before.includes(text))
    .map((text) => telling("firewall-hindered", text));
  const text = "nothing of the firewall is in the way any more";
  const isOver = before.length > 0 && after.length === 0;
  return [...bounded(fresh, "hindrances"), ...(isOver ? [telling("firewall-free", text)] : [])];
}

/** The sixth repair within a minute begins a fight: 1 s of rest, and twice as long after each, up to 60 s. */
function repairsAfter(before: FirewallRepairs, repaired: boolean, now: number): FirewallRepairs {
  const recent = before.at.filter((at) => at > now - MINUTE_MS);
  const at = repaired ? [...recent, now] : recent;
  if (at.length <= REPAIRS) return { at, level: 0, heldUntil: 0 };
  if (!repaired) return { ...before, at };
  const rest = Math.min(LONGEST_MS.fight, FIRST_MS * 2 ** before.level);
  return { at, level: before.level + 1, heldUntil: now + rest };
}

function tellFight(before: FirewallRepairs, after: FirewallRepairs): readonly Telling[] {
  if (isFight(before) === isFight(after)) return [];
  if (!isFight(after)) return [telling("kernel-peace", "the rules of the firewall stay as they should be")];
  const text = `the rules of the firewall were changed ${after.at.length} times within a minute`;
  return [telling("kernel-fight", `${text}: somebody else manages them; they are put right less often`)];
}
