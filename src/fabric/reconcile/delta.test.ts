import { expect, test } from "bun:test";
import { delta } from "./delta.ts";

const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => ({ name }));
const all = { a, b, c, d } as Record<string, { name: string }>;
const list = (names: string) => names.split("").map((name) => all[name] ?? { name });

test.each([
  ["abc", "abc", "", ""],
  ["", "abc", "", "abc"],
  ["abc", "", "abc", ""],
  ["abc", "abcd", "", "d"],
  ["abd", "abcd", "", "c"],
  ["bcd", "abcd", "", "a"],
  ["abcd", "acd", "b", ""],
  ["aa", "a", "a", ""],
  ["abcd", "dcba", "", ""],
  ["abc", "axc", "b", "x"],
])("from %s to %s, [%s] goes and [%s] comes", (before, after, goes, comes) => {
  const { removed, added } = delta(list(before), list(after));
  const names = (them: Iterable<{ name: string }>): string => [...them].map(({ name }) => name).join("");
  expect([names(removed), names(added)]).toEqual([goes, comes]);
});

test("an equal object is another one: what it says may have changed", () => {
  const { removed, added } = delta([{ n: 1 }], [{ n: 1 }]);
  expect([removed.size, added.length]).toEqual([1, 1]);
});
