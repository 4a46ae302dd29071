/**
 * Which test of ours stands for which scenario of the CNI project's own tests and of those of the reference plugins. The
 * text files in `map/` say it, one an area; `map/README.md` describes their form. This file reads them and the titles of
 * our tests; `scenario-map.test.ts` compares.
 */
import { filesOf, textOf } from "../../src/testing/sources.ts";

export const MAP = "test/conformance/map";

/** A test file of the others: `cni/libcni/api_test.go`. Its scenarios are numbered from 1 in the order of the text. */
export interface Counts {
  readonly file: string;
  /** Ginkgo's `It` and `Entry`, and functions of Go's own test package. */
  readonly its: number;
  readonly entries: number;
  readonly functions: number;
}

/** A test of ours: a title as it is written in the source, and a value of its table if only that row is meant. */
export interface TestName {
  readonly path: string;
  readonly title: string;
  readonly row?: string;
}

export interface Row {
  readonly area: string;
  readonly file: string;
  readonly numbers: readonly number[];
  readonly about: string;
  readonly covered: readonly TestName[];
  /** Why no test of ours stands for it. */
  readonly reason?: string;
  /** `AREA.txt:LINE`. */
  readonly at: string;
}

export function readCounts(): readonly Counts[] {
  const lines = textOf(`${MAP}/counts.txt`).split("\n");
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [file = "", its, entries, functions] = line.split(/\s+/);
      return { file, its: Number(its), entries: Number(entries), functions: Number(functions) };
    });
}

/** `1-3, 7` as 1, 2, 3, 7. */
export function numbersOf(text: string): readonly number[] {
  return text.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

interface Open {
  readonly area: string;
  readonly aliases: Map<string, string>;
  readonly rows: (Row & { readonly covered: TestName[]; reason?: string })[];
  file: string;
}

function nameOf(text: string, { aliases }: Open, at: string): TestName {
  const [alias = "", title = "", row] = text.split(" › ");
  const path = aliases.get(alias);
  if (path === undefined) throw new Error(`${at}: "${alias}" names no file of tests`);
  return { path, title, ...(row === undefined ? {} : { row }) };
}

function readLine(line: string, open: Open, at: string): void {
  const row = open.rows.at(-1);
  const words = line.trim();
  const alias = /^([\w-]+) = (\S+)$/.exec(line);
  const numbered = /^(\d[\d, -]*?)  (\S.*)$/.exec(line);
  if (words === "") return;
  if (line.startsWith("## ")) open.file = line.slice(3);
  else if (line.startsWith("#")) return;
  else if (alias) open.aliases.set(alias[1] ?? "", alias[2] ?? "");
  else if (numbered) {
    const [, numbers = "", about = ""] = numbered;
    open.rows.push({
      ...{ area: open.area, file: open.file, numbers: numbersOf(numbers), about, covered: [], at },
    });
  } else if (row && words.startsWith("= ")) row.covered.push(nameOf(words.slice(2), open, at));
  else if (row && words.startsWith("- ") && row.reason === undefined) row.reason = words.slice(2);
  else throw new Error(`${at}: neither a row, nor what covers it, nor a reason`);
}

/** Every row of every area. */
export function readMap(): readonly Row[] {
  return filesOf(`${MAP}/*.txt`)
    .filter((path) => !path.endsWith("/counts.txt"))
    .flatMap((path) => {
      const area = path.slice(MAP.length + 1, -".txt".length);
      const open: Open = { area, aliases: new Map(), rows: [], file: "" };
      for (const [i, line] of textOf(path).split("\n").entries())
        readLine(line, open, `${area}.txt:${i + 1}`);
      return open.rows;
    });
}

const LITERAL = /"(?:[^"\\\n]|\\.)*"|`[^`]*`/g;
/** A call of something that makes a test, with the text that follows it: `kernel.each(rows)("title",`. */
const TITLE =
  /(?:\b(?:\w*[tT]est\w*|kernel\w*|\w*Reference)(?:\.\w+)*|\))\(\s*("(?:[^"\\\n]|\\.)*"|`[^`]*`)\s*,/g;

const unquoted = (literal: string): string =>
  literal.startsWith("`") ? literal.slice(1, -1) : (JSON.parse(literal) as string);

/** The titles in a file of tests, and every text and key in it, which the rows of its tables are among. */
export function textsOf(path: string): {
  readonly titles: ReadonlySet<string>;
  readonly all: ReadonlySet<string>;
} {
  const text = textOf(path);
  const titles = [...text.matchAll(TITLE)].map((match) => unquoted(match[1] ?? '""'));
  const all = [...text.matchAll(LITERAL)].flatMap(([literal]) => {
    try {
      return [unquoted(literal)];
    } catch {
      return [];
    }
  });
  const keys = [...text.matchAll(/^\s+(\w+): /gm)].map((match) => match[1] ?? "");
  return { titles: new Set(titles), all: new Set([...all, ...keys]) };
}
