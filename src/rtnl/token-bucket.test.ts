import { describe, expect, test } from "bun:test";
import { burstOf, decodeTokenBucket, encodeTokenBucket, tokenBucket } from "./token-bucket.ts";

/** What the reference plugin 1.9.1 puts into the kernel, read back from there: rate, burst; limit, ticks. */
const reference = [
  [1, 1, 1, 15_625_000],
  [2, 1, 1, 7_812_500],
  [1_000_000, 100_000, 125_000, 1_562_500],
  [12_345_678, 54_321, 362_962, 68_750],
  [10_000_000_000, 1_000_000, 251_000_000, 1_562],
] as const;

describe("a token bucket", () => {
  test.each(reference)(
    "of %d bytes in a second and %d at once is the reference's",
    (rateBytes, burst, limitBytes, bufferTicks) => {
      expect(tokenBucket(rateBytes, burst, 25)).toEqual({ kind: "tbf", rateBytes, limitBytes, bufferTicks });
    },
  );
  test("takes the most that 32 bits hold where the right value would not fit", () => {
    // One byte in a second takes a thousand seconds for a thousand bytes; the kernel counts to 274.
    expect(tokenBucket(1, 1000, 25).bufferTicks).toBe(0xffffffff);
    expect(tokenBucket(2 ** 38, 2 ** 20, 25).limitBytes).toBe(0xffffffff);
  });
  test.each(reference)("of %d bytes in a second lets %d pass at once", (rate, burst) => {
    const kept = burstOf(tokenBucket(rate, burst, 25));
    // In whole microseconds, and in ticks that are a sixteenth of one.
    expect(kept).toBeLessThanOrEqual(burst);
    expect(kept).toBeGreaterThanOrEqual(Math.floor(burst - (rate * 1.0625) / 1_000_000) - 1);
  });
  test("of less than a microsecond has no ticks", () => {
    expect(tokenBucket(10_000_000_000, 9_999, 25).bufferTicks).toBe(0);
  });
  test.each([1, 0xffffffff, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER])(
    "of %d bytes in a second is read as it was written",
    (rate) => {
      const bucket = tokenBucket(rate, 1_000_000, 25);
      expect(decodeTokenBucket(encodeTokenBucket(bucket))).toEqual(bucket);
    },
  );
  test("says a rate beyond 32 bits in both places, so that an old kernel takes the most it knows", () => {
    const bytes = encodeTokenBucket(tokenBucket(2 ** 33, 1_000_000, 25));
    expect(bytes.toHex()).toContain("0c0004000000000002000000");
    expect(bytes.subarray(12, 16).toHex()).toBe("ffffffff");
  });
});
