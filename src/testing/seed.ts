import { sample } from "./faults.ts";

/** The number that decides which part of a large product is tried. */
const asked = Number(process.env["HEDDLE_SEED"]);

/** `HEDDLE_SEED`, or chosen anew. `npm test` sets it to the seed that it prints, here and in the virtual machine. */
export const seed = Number.isInteger(asked) && asked > 0 ? asked : Math.ceil(Math.random() * 2 ** 31);

/** `npm run test:all`. */
export const isAll = process.env["HEDDLE_ALL"] === "1";

/**
 * Of what takes long, a part chosen by the seed; under `npm run test:all` everything. For tests in the virtual machine,
 * where a test takes twenty times as long.
 */
export const some = <T>(items: readonly T[], count: number): readonly T[] =>
  isAll ? items : sample(items, count, seed);

/** Numbers in [0, 1), the same for the same seed and the same `of`, which tells apart who draws. */
export function randomOf(from: number, of: string | number): () => number {
  let n = 0;
  return () => Bun.hash.xxHash32(`${from} ${of} ${n++}`) / 2 ** 32;
}

/** Whole numbers below a bound, as `randomOf`. */
export function diceOf(from: number, of: string | number): (below: number) => number {
  const random = randomOf(from, of);
  return (below) => Math.floor(random() * below);
}
