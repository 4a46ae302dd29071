/** Changing over on this machine's kernel; of each feature that it may lack, one network by a seed. */
import { afterAll, beforeAll } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { seed } from "../../src/testing/seed.ts";
import { byFeature } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

byFeature(dropIns, (group) => {
  const chosen = group[0]?.network.feature === undefined ? group : sample(group, 1, seed);
  dropInTests(chosen, () => heddle);
});
