/** The whole comparison with the reference plugins, and that every difference that is passed over is there. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Case, cases, compareCase } from "./cases.ts";
import { type Comparison, concerns } from "./compare.ts";
import { type KnownDifference, known } from "./known.ts";
import { byFeature, kernel, peerPath } from "./setting.ts";

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
  kernel(
    "no row stands for a difference that is not there",
    async () => {
      const here = cases.filter(({ network: { feature } }) => feature === undefined || kernelHas(feature));
      const spoken = known.filter((row) => here.some((c) => concerns(row, c)));
      for (const row of spoken)
        for (const c of here.filter((one) => concerns(row, one))) if (!met.has(row)) await comparisonOf(c);
      expect(spoken.filter((row) => !met.has(row)).map(({ row }) => row)).toEqual([]);
    },
    patience(20 * 60_000),
  );
});
