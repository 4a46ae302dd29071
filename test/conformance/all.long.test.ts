/** The whole comparison with the reference plugins, and that every difference that is passed over is there. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas, rareFeatures } from "../../src/testing/features.ts";
import { onKernelWith } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Case, cases, compareCase } from "./cases.ts";
import { type Comparison, concerns } from "./compare.ts";
import { type KnownDifference, known } from "./known.ts";
import { byFeature, isRare, kernel, peerPath } from "./setting.ts";

const heddle = heddleOfFile();

describe("answers, state and traffic are the reference's, but for the rows of docs/differences.md", () => {
  const compared = new Map<Case, Comparison>();
  const met = new Set<KnownDifference>();
  /** Each case once, whichever test comes first: their order is random. */
  const comparisonOf = async (c: Case): Promise<Comparison> => {
    const comparison = compared.get(c) ?? (await compareCase(heddle, peerPath, c));
    compared.set(c, comparison);
    for (const row of comparison.met) met.add(row);
    return comparison;
  };
  const compareAll = async (group: readonly Case[]): Promise<void> => {
    for (const c of group) {
      const { unexplained } = await comparisonOf(c);
      expect({ version: c.version, unexplained }).toEqual({ version: c.version, unexplained: [] });
    }
  };
  byFeature(cases, (group) => {
    const titles = [...Map.groupBy(group, (c) => c.title)];
    kernel.each(titles)(
      "%s, in every version",
      (_title, versions) => compareAll(versions),
      patience(5 * 60_000),
    );
  });
  /** Each of these rows is met by a case that the running kernel can do. */
  const requireMet = (rows: readonly KnownDifference[]) => async (): Promise<void> => {
    const here = cases.filter(({ network: { feature } }) => feature === undefined || kernelHas(feature));
    for (const row of rows)
      for (const c of here.filter((one) => concerns(row, one))) if (!met.has(row)) await comparisonOf(c);
    expect(rows.filter((row) => !met.has(row)).map(({ row }) => row)).toEqual([]);
  };
  const isOfRareKind = (row: KnownDifference): boolean => cases.every((c) => isRare(c) || !concerns(row, c));
  const title = "no row stands for a difference that is not there";
  kernel(title, requireMet(known.filter((row) => !isOfRareKind(row))), patience(20 * 60_000));
  onKernelWith(rareFeatures, () =>
    kernel(title, requireMet(known.filter(isOfRareKind)), patience(20 * 60_000)),
  );
});
