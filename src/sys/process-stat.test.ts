import { expect, test } from "bun:test";
import { parseProcessStat, processStat } from "./process-stat.ts";

test("a name with blanks and parentheses moves no field", () => {
  const line = `4711 (a) R (b)) S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 10\n`;
  expect(parseProcessStat(line)).toEqual({ state: "S", start: "123456" });
});

test("this process runs, and started at one time under both of its names", () => {
  expect(processStat("self")?.state).toBe("R");
  expect(processStat("self")?.start).toMatch(/^\d+$/);
  expect(processStat(process.pid)?.start).toBe(processStat("self")?.start);
});

test("nobody has a number that the kernel gives to none", () => {
  expect(processStat(0)).toBeUndefined();
});
