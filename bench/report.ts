/** From numbers to a table for people, and to a verdict for each target. */
import { type Case, type CaseName, caseOf } from "./cases.ts";
import type { Measured } from "./measure.ts";
import { summarize, type Summary } from "./stats.ts";

export type Quantity = "add" | "del" | "megabytes";

export interface Verdict {
  readonly case: CaseName;
  /** What is compared, for people. */
  readonly what: string;
  readonly measured: number;
  readonly target: number;
  readonly unit: "×" | "ms" | "MB";
  readonly met: boolean;
}

const medianOf = (players: readonly Measured[], name: string, what: Quantity): number | undefined => {
  const values = players.find((p) => p.name === name)?.[what] ?? [];
  return values.length === 0 ? undefined : summarize(values).median;
};

/** Ours is the first player of every case. */
export function verdictsOf(name: CaseName, players: readonly Measured[]): readonly Verdict[] {
  const of = caseOf(name);
  const ours = players[0]?.name ?? "";
  const median = (who: string, what: Quantity): number => medianOf(players, who, what) ?? Number.NaN;
  const verdict = (what: string, measured: number, target: number, unit: Verdict["unit"]): Verdict => ({
    case: name,
    what,
    measured,
    target,
    unit,
    met: measured <= target,
  });
  const { targets, aboveEmpty } = of;
  const ratio = (what: "add" | "del", target: number): Verdict =>
    verdict(what.toUpperCase(), median(ours, what) / median("reference", what), target, "×");
  const above = (what: Quantity, target: number, unit: "ms" | "MB"): Verdict =>
    verdict(
      `${unit === "ms" ? "ADD" : "memory"} above an empty program`,
      median(ours, what) - median("empty program", what),
      target,
      unit,
    );
  return [
    ...(targets
      ? [ratio("add", targets.add), ...(targets.del === undefined ? [] : [ratio("del", targets.del)])]
      : []),
    ...(aboveEmpty
      ? [above("add", aboveEmpty.ms, "ms"), above("megabytes", aboveEmpty.megabytes, "MB")]
      : []),
  ];
}

const digits = (n: number): string => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
const spread = ({ median, lower, upper }: Summary): string =>
  `${digits(median)} (${digits(lower)}–${digits(upper)})`;
const cell = (values: readonly number[]): string => (values.length === 0 ? "–" : spread(summarize(values)));

/**
 * The table of one case, and below it a line for each target. `load` is the machine's load average: much more than one
 * says that other work had the processors, too.
 */
export function showCase(name: CaseName, players: readonly Measured[], load: number): string {
  const of: Case = caseOf(name);
  const unit = of.burst === undefined ? "largest program, MB" : `all at once, MB`;
  const head = ["", "ADD ms", "DEL ms", unit, ...aboveHead(players)];
  const rows = players.map((p) => [
    p.name,
    cell(p.add),
    p.name === "empty program" ? "–" : cell(p.del),
    cell(p.megabytes),
    ...aboveCells(p, players),
  ]);
  const lines = verdictsOf(name, players).map(showVerdict);
  return [`\n${of.title} (load ${load.toFixed(1)})`, ...columns([head, ...rows]), ...lines].join("\n");
}

const hasFloor = (players: readonly Measured[]): boolean => players.some((p) => p.name === "floor");
const aboveHead = (players: readonly Measured[]): string[] =>
  hasFloor(players) ? ["above the floor: ADD", "DEL"] : [];

function aboveCells(player: Measured, players: readonly Measured[]): string[] {
  if (!hasFloor(players) || player.name === "floor") return [];
  return (["add", "del"] as const).map((what) =>
    digits(summarize(player[what]).median - (medianOf(players, "floor", what) ?? 0)),
  );
}

export const showVerdict = (v: Verdict): string => {
  const number = v.unit === "×" ? v.measured.toFixed(3) : digits(v.measured);
  return `  ${v.met ? "met   " : "MISSED"}  ${v.what}: ${number} ${v.unit}, target ≤ ${v.target} ${v.unit}`;
};

/** Pads every column to its widest cell; the first is to the left, the others to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const width = (i: number): number => Math.max(...rows.map((row) => row[i]?.length ?? 0));
  return rows.map((row) =>
    `  ${row.map((text, i) => (i === 0 ? text.padEnd(width(i)) : text.padStart(width(i)))).join("   ")}`.trimEnd(),
  );
}
