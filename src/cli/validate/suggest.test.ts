import { describe, expect, test } from "bun:test";
import { didYouMean, editDistance } from "./suggest.ts";

test.each([
  ["", "", 0],
  ["mtu", "mtu", 0],
  ["", "mtu", 3],
  ["mtu", "mut", 1],
  ["kitten", "sitting", 3],
  ["isGatway", "isGateway", 1],
  ["ab", "ba", 1],
])("from %j to %j it is %d changes", (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
  expect(editDistance(b, a)).toBe(distance);
});

describe("didYouMean", () => {
  const known = ["mtu", "isGateway", "ipMasq", "ipam"];
  test.each([
    ["isgatway", '; did you mean "isGateway"?'],
    ["ipMasquerade", ""],
    ["ipmask", '; did you mean "ipMasq"?'],
    ["umt", ""],
    ["mt", '; did you mean "mtu"?'],
    ["x".repeat(100_000), ""],
  ])("answers %j with %j", (word, answer) => expect(didYouMean(word.slice(0, 100_000), known)).toBe(answer));
});
