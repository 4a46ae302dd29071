/**
 * A sample of every two plugins in one list; the seed is printed, and `HEDDLE_SEED` repeats a choice.
 * `pairs.long.test.ts` does all of them.
 */
import { describe, expect, test } from "bun:test";
import { registry } from "../../src/plugins/registry.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { seed } from "../../src/testing/seed.ts";
import { sample } from "../../src/testing/faults.ts";
import { faultsOfPair, pairs, titleOf, wholeLists, withoutVrf } from "./pairs.ts";
import { mains, metas } from "./plugins.ts";
import { eachList, isRare } from "./setting.ts";

/** Pairs on most machines' kernels, and of those that mostly need the virtual machine. */
const PAIRS = 12;
const RARE = 1;

const chosen = [
  ...sample(
    pairs.filter((p) => !isRare(p)),
    PAIRS,
    seed,
  ),
  ...sample(pairs.filter(isRare), RARE, seed),
];
const whole = sample(
  wholeLists(seed)
    .map(withoutVrf)
    .filter((list) => !isRare(list)),
  2,
  seed,
);

const heddle = heddleOfFile();
console.log(`sample of pairs: HEDDLE_SEED=${seed}`);

test("every plugin that makes or changes interfaces has a row, but for the one that only runs others", () => {
  const rows = Object.keys({ ...mains, ...metas });
  const shipped = Object.entries(registry).filter(
    ([type, { kind }]) => kind !== "ipam" && type !== "heddle-chain",
  );
  expect(shipped.map(([type]) => type).filter((type) => !rows.includes(type))).toEqual([]);
});

describe("plugins in one list attach, pass CHECK, and leave nothing", () => {
  eachList([...chosen, ...whole], titleOf, 60_000, async (pair) => {
    expect(await faultsOfPair(heddle, pair)).toEqual([]);
  });
});
