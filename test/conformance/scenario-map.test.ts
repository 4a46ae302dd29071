/** The map of scenarios is whole, and names tests that there are. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { numbersOf, readCounts, readMap, textsOf } from "./scenario-map.ts";

const counts = readCounts();
const rows = readMap();
const tests = new Set(rows.flatMap((row) => row.covered.map(({ path }) => path)));
const texts = new Map([...tests].filter((path) => existsSync(inProject(path))).map((p) => [p, textsOf(p)]));

describe("the map of scenarios", () => {
  test("has every scenario of every file once, and no other", () => {
    const mapped = Map.groupBy(rows, (row) => row.file);
    const found = [...mapped].map(([file, of]) => [
      file,
      of.flatMap((row) => row.numbers).toSorted((a, b) => a - b),
    ]);
    const wanted = counts.map(({ file, its, entries, functions }) => [
      file,
      numbersOf(`1-${its + entries + functions}`),
    ]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  });

  test("says of every scenario what covers it or why nothing does", () => {
    const wrong = rows.filter(
      ({ about, covered, reason }) => about === "" || covered.length > 0 === (reason !== undefined),
    );
    expect(wrong.map((row) => row.at)).toEqual([]);
  });

  test("names tests, and rows of their tables, that there are", () => {
    const missing = rows.flatMap(({ at, covered }) =>
      covered
        .filter(({ path, title, row }) => {
          const found = texts.get(path);
          return !found?.titles.has(title) || (row !== undefined && !found.all.has(row));
        })
        .map(({ path, title, row }) => [at, path, title, ...(row === undefined ? [] : [row])].join(" › ")),
    );
    expect(missing).toEqual([]);
  });

  test("is read with its ranges", () => {
    expect(numbersOf("1-3, 7")).toEqual([1, 2, 3, 7]);
    expect(numbersOf("4")).toEqual([4]);
  });
});

afterAll(() => {
  const sum = (of: typeof rows): number => of.reduce((n, row) => n + row.numbers.length, 0);
  const line = (area: string, of: typeof rows): string => {
    const covered = sum(of.filter((row) => row.reason === undefined));
    return `  ${area.padEnd(14)} ${String(covered).padStart(4)} ${String(sum(of) - covered).padStart(4)}`;
  };
  const areas = [...Map.groupBy(rows, (row) => row.area)].map(([area, of]) => line(area, of));
  console.log(["scenarios      covered, with a reason", ...areas, line("all", rows)].join("\n"));
});
