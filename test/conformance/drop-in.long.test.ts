/** Changing over with every network that mostly needs the virtual machine. */
import { afterAll, beforeAll } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { byFeature, isRare } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

byFeature(dropIns.filter(isRare), (group) => dropInTests(group, () => heddle));
