/** Changing over with every network that wants a feature which this machine's kernel may lack. */
import { afterAll, beforeAll } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { byFeature } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

const wanting = dropIns.filter(({ network }) => network.feature !== undefined);
byFeature(wanting, (group) => dropInTests(group, () => heddle));
