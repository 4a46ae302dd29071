/**
 * A sample of every two plugins in one list; the seed is printed, and `HEDDLE_SEED` repeats a choice.
 * `pairs.long.test.ts` does all of them.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { registry } from "../../src/plugins/registry.ts";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { kernel, seed } from "./setting.ts";
import { byKernel, faultsOfPair, pairs, titleOf } from "./pairs.ts";
import { mains, metas } from "./plugins.ts";

/** Pairs of plugins that every kernel has, and of those for each further set of features. */
const PAIRS = 6;
const PAIRS_OF_FEATURES = 1;

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
  console.log(`sample of pairs: HEDDLE_SEED=${seed}`);
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

test("every plugin that makes or changes interfaces has a row, but for the one that only runs others", () => {
  const rows = Object.keys({ ...mains, ...metas });
  const shipped = Object.entries(registry).filter(
    ([type, { kind }]) => kind !== "ipam" && type !== "heddle-chain",
  );
  expect(shipped.map(([type]) => type).filter((type) => !rows.includes(type))).toEqual([]);
});

describe("two plugins in one list attach, pass CHECK, and leave nothing", () => {
  byKernel(pairs, (group, nth) => {
    kernel.each(
      sample(group, nth === 0 ? PAIRS : PAIRS_OF_FEATURES, seed + nth).map((p) => [titleOf(p), p] as const),
    )(
      "%s",
      async (_, pair) => {
        expect(await faultsOfPair(heddle, pair)).toEqual([]);
      },
      patience(60_000),
    );
  });
});
