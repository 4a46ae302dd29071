/** Two observations side by side, as lines that only one of them has and that nobody has explained yet. */
import type { Version } from "../../src/cni/version.ts";
import { type KnownDifference, known } from "./known.ts";
import type { Observation } from "./observe.ts";

/** Every leaf of a JSON value with its path: `.ips[0].address "10.1.2.3/24"`. */
function leaves(value: unknown, path = ""): readonly string[] {
  if (Array.isArray(value)) return value.flatMap((v, i) => leaves(v, `${path}[${i}]`));
  if (typeof value === "object" && value !== null)
    return Object.entries(value).flatMap(([key, v]) => leaves(v, `${path}.${key}`));
  return [`${path} ${JSON.stringify(value)}`];
}

export const linesOf = (o: Observation): readonly string[] => [
  ...o.add.flatMap(({ code, result }, i) => [
    `ADD ${i + 1}: ${code}`,
    ...leaves(result ?? {}).map((l) => `ADD ${i + 1}: ${l}`),
  ]),
  ...o.check.map((code, i) => `CHECK ${i + 1}: ${code}`),
  ...o.del.map((code, i) => `DEL ${i + 1}: ${code}`),
  ...o.delAgain.map((code, i) => `DEL again ${i + 1}: ${code}`),
  ...o.traffic.map((l) => `traffic: ${l}`),
  ...o.made.map((l) => `made: ${l}`),
  ...o.left.map((l) => `left: ${l}`),
];

function without(lines: readonly string[], others: readonly string[]): string[] {
  const rest = [...others];
  return lines.filter((line) => {
    const at = rest.indexOf(line);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

/** `title` is the network's name and its families. */
export const concerns = (
  { networks, versions }: KnownDifference,
  { title, version }: { readonly title: string; readonly version: Version },
): boolean => (networks?.test(title) ?? true) && (versions?.includes(version) ?? true);

export interface Comparison {
  /** Differences without an entry in `known`. */
  readonly unexplained: readonly string[];
  /** The entries that explained something. */
  readonly met: readonly KnownDifference[];
}

export function compare(
  of: { readonly title: string; readonly version: Version },
  reference: Observation,
  ours: Observation,
): Comparison {
  const [theirs, mine] = [linesOf(reference), linesOf(ours)];
  const rows = known.filter((row) => concerns(row, of));
  const met = new Set<KnownDifference>();
  const [theirsAlone, mineAlone] = [without(theirs, mine), without(mine, theirs)];
  const unlike = theirsAlone.filter((line) => {
    const row = rows.find(({ reference: from, as }) => as !== undefined && from?.test(line));
    if (row?.reference === undefined || row.as === undefined) return true;
    const at = mineAlone.indexOf(line.replace(row.reference, row.as));
    if (at < 0) return true;
    met.add(row);
    mineAlone.splice(at, 1);
    return false;
  });
  const explain = (side: "reference" | "ours", lines: readonly string[]): string[] =>
    lines.flatMap((line) => {
      const row = rows.find((r) => r.as === undefined && r[side]?.test(line));
      if (row) met.add(row);
      return row ? [] : [`${side} alone: ${line}`];
    });
  return { unexplained: [...explain("reference", unlike), ...explain("ours", mineAlone)], met: [...met] };
}
