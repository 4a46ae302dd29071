/** How long each test file took, by the test runner's report in the form of JUnit. */

export interface FileTime {
  readonly file: string;
  readonly seconds: number;
}

/** The options by which the runner writes the report. */
export const reportTo = (path: string): readonly string[] => [
  "--reporter=junit",
  `--reporter-outfile=${path}`,
];

/** The files of a report, the slowest first. */
export const timesIn = (report: string): readonly FileTime[] =>
  [...report.matchAll(/^ {2}<testsuite name="[^"]*" file="([^"]+)" [^>]*\btime="([\d.]+)"/gm)]
    .map(([, file = "", seconds]) => ({ file, seconds: Number(seconds) }))
    .toSorted((a, b) => b.seconds - a.seconds);

const SHOWN = 8;

/** One line: the files that took most of the time. */
export const showSlowest = (times: readonly FileTime[]): string =>
  times
    .slice(0, SHOWN)
    .map(({ file, seconds }) => `${file} ${seconds.toFixed(0)} s`)
    .join(", ");
