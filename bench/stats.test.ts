import { describe, expect, test } from "bun:test";
import { randomFrom, shuffled, summarize } from "./stats.ts";

describe("summarize", () => {
  test("gives the middle value and the quartiles, whatever the order", () => {
    expect(summarize([5, 1, 4, 2, 3])).toEqual({ runs: 5, lower: 2, median: 3, upper: 4 });
  });
  test("lies between two values when there is no middle one", () => {
    expect(summarize([1, 2, 3, 4])).toEqual({ runs: 4, lower: 1.75, median: 2.5, upper: 3.25 });
  });
  test("refuses to speak of nothing", () => {
    expect(() => summarize([])).toThrow(RangeError);
  });
});

const letters = ["a", "b", "c", "d", "e", "f", "g", "h"];

describe("shuffled", () => {
  test("repeats its order for the same seed, and another seed gives another", () => {
    const order = (seed: number): string => shuffled(letters, randomFrom(seed)).join("");
    expect(order(7)).toBe(order(7));
    expect(order(7)).not.toBe(order(8));
    expect(shuffled(letters, randomFrom(7)).toSorted()).toEqual(letters);
  });
  test("puts each thing first about as often as the others", () => {
    const random = randomFrom(1);
    const first = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 3000; i++) first[shuffled(["a", "b", "c"] as const, random)[0] ?? "a"]++;
    for (const n of Object.values(first)) expect(Math.abs(n - 1000)).toBeLessThan(120);
  });
});
