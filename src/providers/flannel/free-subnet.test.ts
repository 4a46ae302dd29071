import { describe, expect, test } from "bun:test";
import { cidr, ip } from "../../testing/address.ts";
import type { AddressPlan } from "./config.ts";
import { freeSubnet, takesPlaces } from "./free-subnet.ts";

const planOf = (network: string, subnetLen: number, min: string, max: string): AddressPlan => ({
  network: cidr(network),
  subnetLen,
  min: ip(min),
  max: ip(max),
});
const small = planOf("10.1.0.0/20", 24, "10.1.1.0", "10.1.5.0");
/** All that can be drawn, in order. */
const all = (plan: AddressPlan, taken: readonly string[]): readonly string[] => {
  let count = 0n;
  freeSubnet(plan, taken.map(cidr), (below) => ((count = below), 0n));
  return Array.from({ length: Number(count) }, (_, i) => {
    return freeSubnet(plan, taken.map(cidr), () => BigInt(i))?.text ?? "none";
  });
};

describe("freeSubnet", () => {
  test.each([
    [[], ["10.1.1.0/24", "10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24", "10.1.5.0/24"]],
    [["10.1.1.0/24"], ["10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/24", "10.1.5.0/24"]],
    [
      ["10.1.3.0/24", "10.1.3.0/24", "10.1.5.0/24"],
      ["10.1.1.0/24", "10.1.2.0/24", "10.1.4.0/24"],
    ],
    [
      ["10.1.2.128/25", "10.1.4.0/23", "10.1.0.0/24"],
      ["10.1.1.0/24", "10.1.3.0/24"],
    ],
    [
      ["10.1.2.0/23", "10.1.2.0/30", "10.9.0.0/16", "fd00::/8"],
      ["10.1.1.0/24", "10.1.4.0/24", "10.1.5.0/24"],
    ],
    [["10.0.0.0/8"], []],
    [["10.1.0.0/22", "10.1.4.0/22"], []],
  ])("with %j taken draws from all others", (taken, free) => {
    expect(all(small, taken)).toEqual(free);
  });

  test("draws from as many as a network has", () => {
    const huge = planOf("fd00::/8", 64, "fd00:0:0:1::", "fdff:ffff:ffff:ffff::");
    let bound = 0n;
    const last = freeSubnet(huge, [cidr("fd80::/9")], (below) => ((bound = below), below - 1n));
    expect([bound, last?.text]).toEqual([2n ** 55n - 1n, "fd7f:ffff:ffff:ffff::/64"]);
  });

  test("by chance comes to every one", () => {
    const drawn = new Set(Array.from({ length: 400 }, () => freeSubnet(small, [])?.text));
    expect(drawn.size).toBe(5);
  });
});

describe("takesPlaces", () => {
  test.each([
    ["10.1.1.0/24", true],
    ["10.1.1.128/25", true],
    ["10.1.4.0/22", true],
    ["10.1.0.0/21", false],
    ["10.1.0.0/20", false],
    ["0.0.0.0/1", false],
    ["10.1.16.0/24", false],
    ["10.2.0.0/16", false],
    ["fd00::/64", false],
  ])("is so of %s: %p", (subnet, expected) => {
    expect(takesPlaces(small, cidr(subnet))).toBe(expected);
  });
});
