import { NetError } from "../errors.ts";
import type { Family } from "../net/ip.ts";
import {
  applyForwardText,
  type ForwardRules,
  forwardRemovalText,
  forwardRulesOf,
  missingForward,
  undoForwardText,
} from "./iptables-forward.ts";
import { forward } from "./iptables-names.ts";
import { missing, restore, type Run, savedTables, settle } from "./iptables-run.ts";
import type { SavedTable } from "./iptables-save.ts";
import type { FirewallState, Mark } from "./model.ts";

/**
 * Table `filter` of the iptables backend: makes, compares and removes the rules of `iptables-forward.ts` by the programs,
 * one family at a time. The caller holds the lock.
 */
export type Probe = (family: Family, names?: readonly string[], table?: "nat" | "filter") => boolean;

const FAMILIES: readonly Family[] = [4, 6];
const EMPTY: SavedTable = new Map();

/** The families that the state has rules of in table `filter`. */
export const forwardFamilies = (state: FirewallState): { family: Family; rules: ForwardRules }[] =>
  FAMILIES.flatMap((family) => {
    const rules = forwardRulesOf(state, family);
    return rules === undefined ? [] : [{ family, rules }];
  });

const read = (run: Run, family: Family): SavedTable | undefined => {
  const tables = savedTables(run, family, "filter");
  return tables && (tables.get("filter") ?? EMPTY);
};

export function applyForward(
  run: Run,
  state: FirewallState,
  { family, rules }: { family: Family; rules: ForwardRules },
  mark: Mark,
): void {
  settle(run, family, () => {
    const saved = read(run, family);
    if (saved === undefined) throw missing(family);
    return applyForwardText(saved, state, rules, mark);
  });
}

/** Throws `check/differs` for the first rule that is missing. */
export function verifyForward(run: Run, state: FirewallState): void {
  for (const { family, rules } of forwardFamilies(state)) {
    const saved = read(run, family);
    if (saved === undefined) throw missing(family);
    const lacking = missingForward(saved, state, rules);
    if (lacking !== undefined)
      throw new NetError("check/differs", {
        what: `${family === 4 ? "iptables" : "ip6tables"} filter ${lacking.chain}`,
        wanted: lacking.words.join(" "),
        found: "nothing",
      });
  }
}

export function removeForward(
  run: Run,
  { family, rules }: { family: Family; rules: ForwardRules },
  mark: Mark,
): void {
  const undo = undoForwardText(rules, mark);
  if (undo !== undefined && restore(run, family, undo) === undefined) return;
  sweepForward(
    run,
    family,
    () => true,
    (m) => m === mark,
  );
}

/** Removes what marks note in table `filter` of that family, if it can have notes. */
export function sweepForward(run: Run, family: Family, probe: Probe, wanted: (mark: Mark) => boolean): void {
  if (!probe(family, [forward.owners], "filter")) return;
  settle(run, family, () => {
    const saved = read(run, family);
    return saved === undefined ? "" : forwardRemovalText(saved, wanted);
  });
}
