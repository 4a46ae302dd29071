/** The words of a soak: a line while it runs, a table and a file at its end. Pure. */
import type { Options } from "./options.ts";
import type { Soaked } from "./soak.ts";
import type { Ledger, Violation } from "./ledger.ts";
import { troubleNames } from "./model.ts";

/** Of what was done: how often, how long it took in the middle and at the hundredth, and how often it failed, explained. */
export interface Row {
  readonly what: string;
  readonly done: number;
  readonly medianMs: number | undefined;
  readonly p99Ms: number | undefined;
  readonly explained: number;
}

const at = (sorted: readonly number[], part: number): number | undefined =>
  sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];

export function rowsOf({ tallies }: Pick<Ledger, "tallies">): readonly Row[] {
  return [...tallies]
    .map(([what, { ms, explained }]) => {
      const sorted = ms.toSorted((a, b) => a - b);
      return { what, done: ms.length, medianMs: at(sorted, 0.5), p99Ms: at(sorted, 0.99), explained };
    })
    .toSorted((a, b) => a.what.localeCompare(b.what));
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
const operations = (book: Ledger): readonly Row[] =>
  rowsOf(book).filter(({ what }) => /^(?:start|stop) /.test(what));

const clock = (ms: number): string => {
  const seconds = Math.round(ms / 1e3);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
};

/** One line while it runs. */
export function progressLine(book: Ledger, live: number, leftMs: number): string {
  const rows = operations(book);
  const troubles = sum([...book.troubles.values()]);
  const failures = [...rows].filter((r) => r.explained > 0).map((r) => `${r.explained} ${r.what}`);
  return [
    `${clock(leftMs)} left`,
    `${sum(rows.map((r) => r.done))} done`,
    `${live} live`,
    `${troubles} troubles`,
    `failed and explained: ${failures.join(", ") || "none"}`,
    `violations: ${book.violations.length}`,
  ].join("; ");
}

const digits = (n: number | undefined): string => (n === undefined ? "–" : n.toFixed(n < 100 ? 1 : 0));

function columns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
  );
}

const indented = (texts: readonly string[]): string =>
  texts.map((text) => `  ${text.replaceAll("\n", "\n  ")}`).join("\n");

export const showViolation = ({ atMs, what, detail, before }: Violation): string =>
  `VIOLATION after ${clock(atMs)}: ${what}\n${indented([detail.trim(), "before:", ...before])}`;

/** The tables at the end, and every violation. */
export function summary({ ledger, minutes, freedByGc, left }: Soaked): string {
  const { times, different } = ledger.addresses.given();
  const rows = rowsOf(ledger).map((r) => [
    r.what,
    String(r.done),
    digits(r.medianMs),
    digits(r.p99Ms),
    String(r.explained),
  ]);
  const lines = [
    ...columns([["", "done", "median ms", "p99 ms", "failed, explained"], ...rows]),
    "",
    ...columns(troubleNames.map((name) => [name, String(ledger.troubles.get(name) ?? 0)])),
    "",
    ...columns([
      ["minutes", minutes.toFixed(1)],
      ["requests answered by containers", String(ledger.answered())],
      ["addresses given", `${times} (${different} different)`],
      ["attachments that runtimes left to GC", String(freedByGc)],
      ["left at the end", String(left.length)],
      ["violations", String(ledger.violations.length)],
    ]),
  ];
  return [...lines, ...ledger.violations.map(showViolation)].join("\n");
}

/** What `--json` writes. */
export function numbers(options: Options, { ledger, minutes, freedByGc, left }: Soaked): object {
  return {
    seed: options.seed,
    runtimes: options.runtimes,
    minutes,
    operations: rowsOf(ledger),
    troubles: Object.fromEntries(troubleNames.map((name) => [name, ledger.troubles.get(name) ?? 0])),
    answered: ledger.answered(),
    addresses: ledger.addresses.given(),
    freedByGc,
    left,
    violations: ledger.violations,
  };
}
