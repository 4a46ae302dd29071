/** Every two plugins in one list: every one that makes an interface with every one that changes it, and every order. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { faultsOfPair, pairs, titleOf } from "./pairs.ts";
import { eachList } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

describe("every two plugins in one list attach, pass CHECK, and leave nothing", () => {
  eachList(pairs, titleOf, 60_000, async (pair) => {
    expect(await faultsOfPair(heddle, pair)).toEqual([]);
  });
});
