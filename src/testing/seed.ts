import { sample } from "./faults.ts";

/** The number that decides which part of a large product is tried. */
const asked = Number(process.env["HEDDLE_SEED"]);

/** `HEDDLE_SEED`, or chosen anew. `npm test` sets it to the seed that it prints, here and in the virtual machine. */
export const seed = Number.isInteger(asked) && asked > 0 ? asked : Math.ceil(Math.random() * 2 ** 31);

/**
 * Of what takes long, a part chosen by the seed; under `npm run test:all` everything. For tests in the virtual machine,
 * where a test takes twenty times as long.
 */
export const some = <T>(items: readonly T[], count: number): readonly T[] =>
  process.env["HEDDLE_ALL"] === "1" ? items : sample(items, count, seed);
