/**
 * A sample of the comparison with the reference plugins; the seed is printed, and `HEDDLE_SEED` repeats a choice.
 * `all.long.test.ts` does the whole product.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { cases, compareCase } from "./cases.ts";
import { byFeature, kernel, peerPath } from "./setting.ts";

/** Cases on the machine's kernel; those for other kernels take minutes each and are in `all.long.test.ts`. */
const CASES = 24;

const here = cases.filter(({ network }) => network.feature === undefined);
const chosen = sample(here, CASES, seed);

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
  console.log(`comparison sample: HEDDLE_SEED=${seed}`);
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

describe("answers, state and traffic are the reference's, but for the rows of docs/differences.md", () => {
  byFeature(chosen, (group) => {
    kernel.each(group.map((c) => [c.title, c.version, c] as const))(
      "%s, version %s",
      async (_title, _version, c) => {
        expect((await compareCase(heddle, peerPath, c)).unexplained).toEqual([]);
      },
      patience(60_000),
    );
  });
});
