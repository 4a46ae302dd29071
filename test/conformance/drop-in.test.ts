/** Changing over on this machine's kernel; `drop-in.long.test.ts` has the networks that want what it may lack. */
import { afterAll, beforeAll } from "bun:test";
import { type HeddleBinary, heddleBinary } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { byFeature } from "./setting.ts";

let heddle: HeddleBinary;
beforeAll(async () => {
  heddle = await heddleBinary();
}, 120_000);
afterAll(() => heddle[Symbol.dispose]());

const here = dropIns.filter(({ network }) => network.feature === undefined);
byFeature(here, (group) => dropInTests(group, () => heddle));
