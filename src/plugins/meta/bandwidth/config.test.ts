import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import { tokenBucket } from "../../../rtnl/token-bucket.ts";
import { confOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval, warnOfSmallBursts } from "./config.ts";

type Json = Readonly<Record<string, unknown>>;
const configOf = (raw: Json) => parseConfig(confOf("bandwidth", raw));
const ingress = { ingressRate: 8_000_000, ingressBurst: 800_000 };
const egress = { egressRate: 16_000_000, egressBurst: 1_600_000 };

function fieldOf(raw: Json): string | undefined {
  try {
    configOf(raw);
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    throw e;
  }
  return undefined;
}

describe("the configuration of bandwidth", () => {
  test("is a token bucket for each direction, in bytes", () => {
    expect(configOf({ ...ingress, ...egress })).toEqual({
      ingress: tokenBucket(1_000_000, 100_000, 25),
      egress: tokenBucket(2_000_000, 200_000, 25),
    });
  });
  test("limits nothing without numbers, or with zeros", () => {
    expect(configOf({})).toEqual({});
    expect(configOf({ ingressRate: 0, ingressBurst: 0, egressRate: 0 })).toEqual({});
    expect(configOf({ runtimeConfig: { bandwidth: {} } })).toEqual({});
  });
  test("takes the runtime's limits if it has none of its own, not even zeros", () => {
    const runtimeConfig = { bandwidth: egress };
    expect(configOf({ runtimeConfig })).toEqual(configOf(egress));
    expect(configOf({ ...ingress, runtimeConfig })).toEqual(configOf(ingress));
    expect(configOf({ egressRate: 0, runtimeConfig })).toEqual({});
  });
  test("takes the least and the most that the kernel holds", () => {
    expect(configOf({ ingressRate: 8, ingressBurst: 8 }).ingress?.rateBytes).toBe(1);
    const most = { egressRate: Number.MAX_SAFE_INTEGER, egressBurst: 8 * (2 ** 32 - 1) - 1 };
    expect(configOf(most).egress?.rateBytes).toBe(2 ** 50 - 1);
  });
  test.each([
    ["ingressBurst", { ingressRate: 8000 }],
    ["ingressRate", { ingressBurst: 8000 }],
    ["egressBurst", { egressRate: 8000, egressBurst: 0 }],
    ["egressRate", { ...ingress, egressBurst: 8000 }],
    ["ingressRate", { ingressRate: 7, ingressBurst: 8000 }],
    ["ingressBurst", { ingressRate: 8000, ingressBurst: 7 }],
    // 32 GiB in bits: 4 GiB do not fit into the kernel's number.
    ["ingressBurst", { ingressRate: 8000, ingressBurst: 8 * (2 ** 32 - 1) }],
    ["ingressBurst", { ingressRate: 80_000_000_000, ingressBurst: 8000 }],
    ["egressRate", { egressRate: -1, egressBurst: 8000 }],
    ["egressRate", { egressRate: 1.5, egressBurst: 8000 }],
    ["egressRate", { egressRate: "8000", egressBurst: 8000 }],
    ["egressRate", { egressRate: 2 ** 64, egressBurst: 8000 }],
    ["egressBurst", { egressRate: 8000, egressBurst: [8000] }],
    ["runtimeConfig.bandwidth", { runtimeConfig: { bandwidth: 8000 } }],
    ["runtimeConfig.bandwidth.ingressBurst", { runtimeConfig: { bandwidth: { ingressRate: 8000 } } }],
    [
      "runtimeConfig.bandwidth.egressRate",
      { runtimeConfig: { bandwidth: { egressRate: 1, egressBurst: 9 } } },
    ],
  ] as const)("names the field %s of %j", (field, raw) => {
    expect(fieldOf(raw)).toBe(field);
  });
  test("that became invalid does not stop removal", () => {
    expect(parseForRemoval(confOf("bandwidth", { ingressRate: -1 }))).toEqual({});
  });
});

test("a burst that holds no packet is told to the log, by its direction", () => {
  const told = (raw: Json): readonly string[] => {
    const lines: string[] = [];
    warnOfSmallBursts({ config: configOf(raw), log: (line) => void lines.push(line) });
    return lines;
  };
  expect(told({ ...ingress, ...egress })).toEqual([]);
  expect(told({})).toEqual([]);
  expect(told({ ...ingress, egressRate: 8_000_000, egressBurst: 8 * 1515 })).toEqual([]);
  const [line, ...more] = told({ ...ingress, egressRate: 8_000_000, egressBurst: 8 * 1000 });
  expect(line).toStartWith("egressBurst: packets of more than its 1000 bytes never pass");
  expect(more).toEqual([]);
});
