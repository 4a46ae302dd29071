import { expect, test } from "bun:test";
import { Eagerness } from "./eagerness.ts";

/** How often it looks in so many rounds of a kind of which it finds those that `isFound` says. */
function looks(eager: Eagerness, rounds: number, isFound: (look: number) => boolean, kind = 1): number {
  let count = 0;
  for (let i = 0; i < rounds; i++) if (eager.looks(kind)) eager.learn(kind, isFound(count++));
  return count;
}

test("what is found each time is looked for each time", () => {
  expect(looks(new Eagerness(2), 1000, () => true)).toBe(1000);
});

test("what is never found is looked for less and less, and found again when it comes", () => {
  const eager = new Eagerness(2);
  expect(looks(eager, 8192, () => false)).toBe(10);
  expect(looks(eager, 100_000, () => false)).toBeLessThan(30);
  expect(looks(eager, 10_000, () => true)).toBeGreaterThan(5000);
});

test("what is found half of the time is not worth it", () => {
  expect(looks(new Eagerness(2), 10_000, (look) => look % 2 === 0)).toBeLessThan(1300);
});

test("kinds of rounds are told apart", () => {
  const eager = new Eagerness(2);
  looks(eager, 1000, () => false, 1);
  expect(looks(eager, 100, () => true, 2)).toBe(100);
});

test("one processor alone is never kept busy", () => {
  expect(looks(new Eagerness(1), 1000, () => true)).toBe(0);
});
