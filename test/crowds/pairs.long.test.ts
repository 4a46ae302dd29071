/**
 * Every two plugins in one list: every one that makes an interface with every one that changes it, and every order; and all
 * that can be in one list, in an order by `HEDDLE_SEED`.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { seed } from "../../src/testing/seed.ts";
import { faultsOfPair, pairs, titleOf, wholeLists, withoutVrf } from "./pairs.ts";
import { eachList } from "./setting.ts";

const heddle = heddleOfFile();
console.log(`orders of plugins: HEDDLE_SEED=${seed}`);

describe("plugins in one list attach, pass CHECK, and leave nothing", () => {
  eachList(
    [...pairs, ...wholeLists(seed), ...wholeLists(seed + 1).map(withoutVrf)],
    titleOf,
    60_000,
    async (pair) => {
      expect(await faultsOfPair(heddle, pair)).toEqual([]);
    },
  );
});
