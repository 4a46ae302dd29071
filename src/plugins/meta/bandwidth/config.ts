import { integer, invalid, object } from "../../../cni/json.ts";
import type { AddCall, NetConf } from "../../../cni/plugin.ts";
import { burstOf, type TokenBucket, tokenBucket } from "../../../rtnl/token-bucket.ts";

/** The limits of a container's traffic. Ingress is what it receives, egress what it sends; absent: no limit. */
export interface BandwidthConfig {
  readonly ingress?: TokenBucket;
  readonly egress?: TokenBucket;
}

const bits = integer({ min: 0 });
const keys = { ingressRate: bits, ingressBurst: bits, egressRate: bits, egressBurst: bits } as const;
const limits = object(keys);
export const options = object({ ...keys, runtimeConfig: object({ bandwidth: limits }) });
type Limits = ReturnType<typeof limits>;

/** What waits longer than this for its turn is dropped; the reference's number. */
const LATENCY_MS = 25;
/** A burst in bytes has to be less than 2^32 - 1. */
const BURST_BITS = 8 * 0xffffffff - 1;

/**
 * The limits of the configuration, or if it has none of the keys those that the runtime asks for.
 * @throws config/invalid with the key
 */
export function parseConfig(conf: NetConf): BandwidthConfig {
  const { runtimeConfig, ...fixed } = options(conf.raw, "");
  const isFixed = Object.keys(fixed).length > 0;
  const from = isFixed ? fixed : (runtimeConfig?.bandwidth ?? {});
  const at = isFixed ? "" : "runtimeConfig.bandwidth.";
  const ingress = bucketOf(from, "ingress", at);
  const egress = bucketOf(from, "egress", at);
  return { ...(ingress ? { ingress } : {}), ...(egress ? { egress } : {}) };
}

/** Removal goes by the record and the marks; the limits only tell what the reference made. */
export function parseForRemoval(conf: NetConf): BandwidthConfig {
  try {
    return parseConfig(conf);
  } catch {
    return {};
  }
}

function bucketOf(from: Limits, direction: "ingress" | "egress", at: string): TokenBucket | undefined {
  const rateKey = `${at}${direction}Rate`;
  const burstKey = `${at}${direction}Burst`;
  const rate = from[`${direction}Rate`] ?? 0;
  const burst = from[`${direction}Burst`] ?? 0;
  if (rate === 0 && burst === 0) return undefined;
  if (burst === 0) invalid(burstKey, `has to be set, too, since ${rateKey} is`);
  if (rate === 0) invalid(rateKey, `has to be set, too, since ${burstKey} is`);
  if (rate < 8) invalid(rateKey, `${rate} bit/s is less than one byte in a second`);
  if (burst < 8) invalid(burstKey, `${burst} bits is less than one byte`);
  if (burst > BURST_BITS) invalid(burstKey, `${burst} bits is more than the kernel's 32 bits of bytes hold`);
  const bucket = tokenBucket(Math.floor(rate / 8), Math.floor(burst / 8), LATENCY_MS);
  if (bucket.bufferTicks === 0)
    invalid(
      burstKey,
      `${burst} bits pass in less than a microsecond at this rate, shorter than the kernel measures`,
    );
  return bucket;
}

/** What Ethernet carries at most, with its header: a token bucket counts that, too. */
const PACKET_BYTES = 1514;

/** The reference takes such bursts, and with small packets alone they do work: a line for the log, and no error. */
export function warnOfSmallBursts({ config, log }: Pick<AddCall<BandwidthConfig>, "config" | "log">): void {
  for (const direction of ["ingress", "egress"] as const) {
    const bucket = config[direction];
    const burst = bucket === undefined ? PACKET_BYTES : burstOf(bucket);
    if (burst < PACKET_BYTES)
      log(
        `${direction}Burst: packets of more than its ${burst} bytes never pass; an Ethernet packet has ${PACKET_BYTES}`,
      );
  }
}
