/**
 * A sample of the comparison with the reference plugins; the seed is printed, and `HEDDLE_SEED` repeats a choice.
 * `all.long.test.ts` does the whole product.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { cases, compareCase } from "./cases.ts";
import { byFeature, isRare, kernel, peerPath } from "./setting.ts";

/** Cases on most machines' kernels, and of those that mostly need the virtual machine. */
const CASES = 12;
const RARE = 1;

const usual = cases.filter((c) => !isRare(c));
const chosen = [...sample(usual, CASES, seed), ...sample(cases.filter(isRare), RARE, seed)];

const heddle = heddleOfFile();
console.log(`comparison sample: HEDDLE_SEED=${seed}`);

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
