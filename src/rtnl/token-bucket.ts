import { attrs, fixedAttr } from "../wire/attrs.ts";
import { i16, struct, u16, u32, u64, u8 } from "../wire/fixed.ts";

/**
 * The token bucket filter: a queue that lets a rate pass, and a burst at once after a pause (sch_tbf; TCA_TBF_*,
 * linux/pkt_sched.h).
 */
export interface TokenBucket {
  readonly kind: "tbf";
  /** Bytes in a second, up to 2^53. */
  readonly rateBytes: number;
  /** Bytes that may wait, 32 bits; what comes beyond is dropped. */
  readonly limitBytes: number;
  /** How long the burst takes at that rate, in ticks of 64 ns, 32 bits. */
  readonly bufferTicks: number;
}

/** PSCHED_SHIFT of the kernel since 2.6.31; /proc/net/psched says the same as microseconds in ticks: 1000 by 64. */
const TICKS_PER_MICROSECOND = 1000 / 64;
const MAX_U32 = 0xffffffff;

/**
 * The bucket of a rate and a burst in bytes, with a queue of at most `latencyMs` beyond the burst. The time of the burst
 * is cut to whole microseconds and then to ticks, as tc and the reference plugins do, so that all agree about the same
 * bucket. What does not fit into 32 bits becomes the most that does: a burst of 274 seconds, a queue of 4 GiB. Zero
 * ticks, for a burst of less than a microsecond, is refused by the kernel.
 */
export function tokenBucket(rateBytes: number, burstBytes: number, latencyMs: number): TokenBucket {
  const burstMicroseconds = Math.floor((burstBytes * 1_000_000) / rateBytes);
  return {
    kind: "tbf",
    rateBytes,
    limitBytes: Math.min(Math.floor((rateBytes * latencyMs) / 1000) + burstBytes, MAX_U32),
    bufferTicks: Math.min(Math.floor(burstMicroseconds * TICKS_PER_MICROSECOND), MAX_U32),
  };
}

/** How many bytes pass at once after a pause. */
export const burstOf = ({ rateBytes, bufferTicks }: TokenBucket): number =>
  Math.floor((rateBytes * bufferTicks) / (TICKS_PER_MICROSECOND * 1_000_000));

const rateSpec = struct("tc_ratespec", 12, {
  cellLog: u8,
  linkLayer: u8,
  overhead: u16,
  cellAlign: i16,
  mpu: u16,
  rate: u32,
});
const parameters = struct("tc_tbf_qopt", 36, {
  rate: rateSpec,
  peakRate: rateSpec,
  limit: u32,
  buffer: u32,
  mtu: u32,
});
export const tbfAttrs = attrs("TCA_TBF", {
  parameters: [1, fixedAttr(parameters)],
  rate64: [4, fixedAttr(u64)],
  peakRate64: [5, fixedAttr(u64)],
});

const rateOf = (rate: number) => ({ cellLog: 0, linkLayer: 0, overhead: 0, cellAlign: 0, mpu: 0, rate });

export function encodeTokenBucket({ rateBytes, limitBytes, bufferTicks }: TokenBucket): Uint8Array {
  return tbfAttrs.encode({
    parameters: {
      rate: rateOf(Math.min(rateBytes, MAX_U32)),
      peakRate: rateOf(0),
      limit: limitBytes,
      buffer: bufferTicks,
      mtu: 0,
    },
    ...(rateBytes > MAX_U32 ? { rate64: BigInt(rateBytes) } : {}),
  });
}

/** Undefined for one without parameters, which the kernel does not make. */
export function decodeTokenBucket(options: Uint8Array): TokenBucket | undefined {
  const { parameters: p, rate64 } = tbfAttrs.decode(options);
  return (
    p && {
      kind: "tbf",
      rateBytes: rate64 === undefined ? p.rate.rate : Number(rate64),
      limitBytes: p.limit,
      bufferTicks: p.buffer,
    }
  );
}
