/** Changing over on this machine's kernel, and with one network, by a seed, of those that want what it may lack. */
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

const here = dropIns.filter(({ network }) => network.feature === undefined);
const elsewhere = dropIns.filter(({ network }) => network.feature !== undefined);
byFeature([...here, ...sample(elsewhere, 1, seed)], (group) => dropInTests(group, () => heddle));
