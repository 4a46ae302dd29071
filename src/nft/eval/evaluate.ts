/**
 * Runs a packet of which not everything is known through the chains of a hook. A rule that nobody can decide is followed both
 * ways; what the ways have in common is certain, and where they part the rule is named. So no answer is given that the
 * kernel would not give, at the cost of none being given where the kernel's depends on what cannot be seen.
 */
import type { TableRef } from "../model.ts";
import type { Verdict } from "../verdict.ts";
import { applyRule } from "./rule.ts";
import type { BaseChain, RuleSet } from "./rule-set.ts";
import { type Environment, joinStates, type State, type Where } from "./state.ts";

/** One way through a base chain. */
export interface Ending {
  /** `unknown`: a rule does what nobody here knows, such as giving the packet to a program. */
  readonly kind: "accept" | "drop" | "unknown";
  readonly by: Where;
  /** The sender is told. */
  readonly rejected?: true;
  readonly state: State;
}

interface Outcome {
  readonly endings: readonly Ending[];
  /** The packet goes on behind the chain; absent: it never does. */
  readonly on?: State;
}

/** The kernel has the same bound for the depth of jumps (NFT_JUMP_STACK_SIZE). */
const MOST_JUMPS = 16;

/** Every way through one base chain. */
export function runBase(rules: RuleSet, base: BaseChain, state: State, env: Environment): readonly Ending[] {
  const { family, table, chain } = base;
  const { endings, on } = runChain({ rules, table: { family, table }, env, depth: 0 }, chain, {
    ...state,
    doubts: [],
  });
  if (on === undefined) return endings;
  return [...endings, { kind: base.policy, by: { family, table, chain }, state: on }];
}

interface Run {
  readonly rules: RuleSet;
  readonly table: TableRef;
  readonly env: Environment;
  readonly depth: number;
}

function runChain(run: Run, chain: string, entry: State): Outcome {
  const { rules, table, env } = run;
  const endings: Ending[] = [];
  const left: State[] = [];
  let state: State | undefined = entry;
  for (const rule of rules.chain(table, chain)) {
    if (state === undefined) break;
    const where: Where = { ...table, chain, rule };
    const applied = applyRule({ rule, where, state, env, set: (name) => rules.set(table, name) });
    const next: State[] = [...applied.past];
    for (const { verdict, state: after } of applied.verdicts) {
      if (verdict === "accept" || verdict === "drop" || verdict === "unknown")
        endings.push({ kind: verdict, by: withWhy(where, applied.why, verdict), state: after });
      else if (verdict === "reject") endings.push({ kind: "drop", by: where, rejected: true, state: after });
      else if (verdict === "return") left.push(after);
      else if (verdict === "continue") next.push(after);
      else {
        const { endings: inner, on } = follow(run, where, verdict, after);
        endings.push(...inner);
        if (on) ("goto" in verdict ? left : next).push(on);
      }
    }
    state = joined(next, applied.why === undefined ? undefined : where);
  }
  if (state) left.push(state);
  const on = joined(left, undefined);
  return on === undefined ? { endings } : { endings, on };
}

const withWhy = (where: Where, why: string | undefined, verdict: string): Where =>
  why !== undefined && verdict === "unknown" ? { ...where, why } : where;

function follow(run: Run, where: Where, verdict: Exclude<Verdict, string>, state: State): Outcome {
  if (run.depth >= MOST_JUMPS)
    return {
      endings: [{ kind: "unknown", by: { ...where, why: "chains jump to one another too deeply" }, state }],
    };
  const chain = "jump" in verdict ? verdict.jump : verdict.goto;
  return runChain({ ...run, depth: run.depth + 1 }, chain, state);
}

const joined = (states: readonly State[], because: Where | undefined): State | undefined =>
  states.length === 0 ? undefined : states.reduce((a, b) => joinStates(a, b, because));

/** What all ways have in common, of one base chain. */
export type Verdictless =
  | { readonly kind: "accept"; readonly by: Where; readonly state: State }
  | { readonly kind: "drop"; readonly by: Where; readonly rejected?: true }
  /** Perhaps it goes on, as `state`; absent: as what is not known. */
  | { readonly kind: "unsure"; readonly because: Where; readonly state?: State };

export function summary(endings: readonly Ending[]): Verdictless {
  const opaque = endings.find((e) => e.kind === "unknown");
  const drops = endings.filter((e) => e.kind === "drop");
  const accepts = endings.filter((e) => e.kind === "accept");
  const [drop] = drops;
  const [accept] = accepts;
  const state = joined(
    accepts.map((e) => e.state),
    undefined,
  );
  // It may be another packet behind that.
  if (opaque !== undefined) return { kind: "unsure", because: opaque.by };
  if (accept === undefined || state === undefined) {
    if (drop === undefined) throw new TypeError("a chain without an end");
    const rejected = drops.every((d) => d.rejected);
    return { kind: "drop", by: drop.by, ...(rejected ? { rejected: true } : {}) };
  }
  if (drop === undefined) {
    const blurred =
      accepts.length > 1 && accepts.some((e) => e.state.translation !== accept.state.translation);
    // Where it is translated to depends on what nobody knows: there is no way on that is the packet's.
    if (blurred)
      return { kind: "unsure", because: accepts.flatMap((e) => e.state.doubts).at(-1) ?? accept.by };
    return { kind: "accept", by: accept.by, state };
  }
  return {
    kind: "unsure",
    because: drop.state.doubts.at(-1) ?? accept.state.doubts.at(-1) ?? drop.by,
    state,
  };
}
