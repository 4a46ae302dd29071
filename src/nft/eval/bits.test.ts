import { describe, expect, test } from "bun:test";
import {
  between,
  big16,
  type Bits,
  equals,
  isGreater,
  isLess,
  join,
  known,
  maskXor,
  slice,
  splice,
  unknown,
} from "./bits.ts";

const bytes = (...b: readonly number[]): Uint8Array => Uint8Array.from(b);
/** Sixteen bits whose highest one is set: a port of the upper half. */
const upperHalf: Bits = { bytes: bytes(0x80, 0), known: bytes(0x80, 0) };

/** Every number of sixteen bits that it may be, of a few. */
const mayBe = (b: Bits, n: number): boolean => equals(b, big16(n).bytes) !== false;

describe("bits", () => {
  test("of what is not known nothing is equal, and nothing different", () => {
    expect(equals(unknown(2), bytes(1, 2))).toBeUndefined();
    expect(equals(known(bytes(1, 2)), bytes(1, 2))).toBe(true);
    expect(equals(known(bytes(1, 2)), bytes(1))).toBe(true);
    expect(equals(upperHalf, bytes(0, 80))).toBe(false);
    expect(equals(upperHalf, bytes(0x90, 1))).toBeUndefined();
  });

  test.each([0, 79, 0x7fff, 0x8000, 0x8001, 0xc000, 0xffff])(
    "an order is told where every value has it: %d",
    (n) => {
      const of = big16(n).bytes;
      const values = [0x8000, 0x8001, 0x9000, 0xc000, 0xffff];
      const told = (truth: boolean | undefined, holds: (v: number) => boolean): void => {
        const all = values.every(holds);
        const some = values.some(holds);
        expect(truth).toBe(all ? true : some ? undefined : false);
      };
      told(isLess(upperHalf, of), (v) => v < n);
      told(isGreater(upperHalf, of), (v) => v > n);
      told(between(upperHalf, bytes(0, 0), of), (v) => v <= n);
    },
  );

  test("what a mask takes away is known", () => {
    const masked = maskXor(upperHalf, bytes(0x80, 0), bytes(0, 1));
    expect(masked).toEqual(known(bytes(0x80, 1)));
    expect(equals(maskXor(unknown(2), bytes(0, 0), bytes(0, 0)), bytes(0, 0))).toBe(true);
  });

  test("of two values what both have stays known", () => {
    const either = join(known(bytes(0x12, 0x34)), known(bytes(0x12, 0x35)));
    expect(either.known).toEqual(bytes(0xff, 0xfe));
    expect([0x1234, 0x1235, 0x1236].map((n) => mayBe(either, n))).toEqual([true, true, false]);
  });

  test("a part is put into a whole and taken out again", () => {
    const whole = splice(unknown(4), 1, known(bytes(7, 8)));
    expect(slice(whole, 1, 2)).toEqual(known(bytes(7, 8)));
    expect(slice(whole, 2, 2)).toEqual({ bytes: bytes(8, 0), known: bytes(0xff, 0) });
    // Beyond the end nothing is known.
    expect(slice(whole, 4, 1)).toEqual(unknown(1));
  });
});
