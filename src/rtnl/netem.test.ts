import { expect, test } from "bun:test";
import { encodeNetem } from "./netem.ts";

test("a delay is in nanoseconds, a loss is a share of all 32 bits", () => {
  // As tc sends `netem delay 40ms loss 25% limit 100000`, but for the old field of the delay, which this replaces.
  expect(encodeNetem({ delayMs: 40, lossPercent: 25 }).toHex()).toBe(
    ["00000000", "a0860100", "00000040", "00000000", "00000000", "00000000", "0c000a00005a620200000000"].join(
      "",
    ),
  );
});
