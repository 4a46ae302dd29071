/** The whole comparison with the reference plugins, and that every difference that is passed over is there. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Case, cases, compareCase } from "./cases.ts";
import { concerns } from "./compare.ts";
import { type KnownDifference, known } from "./known.ts";
import { byFeature, kernel, peerPath } from "./setting.ts";

const heddle = heddleOfFile();

describe("answers, state and traffic are the reference's, but for the rows of docs/differences.md", () => {
  const met = new Set<KnownDifference>();
  const compareAll = async (group: readonly Case[]): Promise<void> => {
    for (const c of group) {
      const { met: rows, unexplained } = await compareCase(heddle, peerPath, c);
      for (const row of rows) met.add(row);
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
  kernel("no row stands for a difference that is not there", () => {
    const here = cases.filter(({ network: { feature } }) => feature === undefined || kernelHas(feature));
    const spoken = known.filter((row) => here.some((c) => concerns(row, c)));
    expect(spoken.filter((row) => !met.has(row)).map(({ row }) => row)).toEqual([]);
  });
});
