import { describe, expect, test } from "bun:test";
import { plainSum } from "../testing/packets.ts";
import { diceOf, seed } from "../testing/seed.ts";
import { fold32, pseudoSum, sumOf } from "./checksum.ts";

const dice = diceOf(seed, "checksum");
const noise = (length: number): Uint8Array => Uint8Array.from({ length }, () => dice(256));
/** One's complement has two zeros. */
const same = (a: number, b: number): boolean => a % 0xffff === b % 0xffff;

describe("sumOf", () => {
  test("is the sum of 16-bit words at any place and of any length", () => {
    const bytes = noise(70);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < 8; at++)
      for (let length = 0; length <= 60; length++)
        expect([at, length, sumOf(view, at, length)]).toEqual([
          at,
          length,
          plainSum(bytes.subarray(at, at + length)),
        ]);
  });

  test("does not overflow on the longest packet of the largest words", () => {
    const bytes = new Uint8Array(200_001).fill(0xff);
    expect(sumOf(new DataView(bytes.buffer), 0, 65_535)).toBe(plainSum(bytes.subarray(0, 65_535)));
    expect(same(sumOf(new DataView(bytes.buffer), 1, 200_000), 0)).toBe(true);
  });
});

test("fold32 folds every carry", () => {
  expect([fold32(0), fold32(0xffff), fold32(0x1_0000), fold32(0xffff_ffff), fold32(0xffff_0001)]).toEqual([
    0, 0xffff, 1, 0xffff, 1,
  ]);
});

test("pseudoSum has addresses, protocol and length", () => {
  const bytes = noise(32);
  const plain = plainSum(Uint8Array.from([...bytes, 0, 17, 0x12, 0x34]));
  expect(pseudoSum(new DataView(bytes.buffer), 0, 16, 17, 0x1234)).toBe(plain);
});
