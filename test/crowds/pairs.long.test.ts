/** Every two plugins in one list: every one that makes an interface with every one that changes it, and every order. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { byKernel, faultsOfPair, pairs, titleOf } from "./pairs.ts";
import { kernel } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

describe("every two plugins in one list attach, pass CHECK, and leave nothing", () => {
  byKernel(pairs, (group) => {
    kernel.each(group.map((p) => [titleOf(p), p] as const))(
      "%s",
      async (_, pair) => {
        expect(await faultsOfPair(heddle, pair)).toEqual([]);
      },
      patience(60_000),
    );
  });
});
