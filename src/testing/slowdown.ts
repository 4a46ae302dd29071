/** How much slower than a usual machine this one is: an emulated one by far (`HEDDLE_SLOWDOWN`). */

/** At least 1. Only limits are multiplied by it; nothing waits longer because of it. */
export const slowdown = Math.max(1, Number(process.env["HEDDLE_SLOWDOWN"] ?? 1));

/** A time limit in milliseconds as a usual machine needs it, for this machine; at most so much where many run out. */
export const patience = (timeoutMs: number, atMostMs = Infinity): number =>
  Math.min(timeoutMs * slowdown, Math.max(timeoutMs, atMostMs));
