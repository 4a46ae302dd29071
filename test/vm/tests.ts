/** Test files in a guest: those that somebody names, and those that the host's kernel could not run. */
import { existsSync, readFileSync } from "node:fs";
import { relative } from "node:path";
import { projectDir } from "../../scripts/paths.ts";
import { reportTo } from "../../scripts/test-times.ts";
import { type Deferred, patternOfFeatures } from "../../src/testing/needs.ts";
import { GUEST_TIMES } from "./job.ts";
import { GUEST_SLOWDOWN, type GuestOutcome, type GuestRun, PROCESSORS, runInGuest } from "./machine.ts";

/** What one test may take on the host, in milliseconds, unless it says more itself. */
export const TEST_LIMIT_MS = 30_000;

/** The test runner with these files and options. */
export const testArguments = (rest: readonly string[]): readonly string[] => [
  ...[process.execPath, "test", "--isolate", `--timeout=${TEST_LIMIT_MS * GUEST_SLOWDOWN}`],
  ...rest,
];

/** The environment of tests in a guest: it has everything, so nothing may be skipped. */
export function guestEnv(): Readonly<Record<string, string>> {
  const given = ["HEDDLE_PEER_DIR", "HEDDLE_SEED", "HEDDLE_ALL"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: process.env["HOME"] ?? "/",
    TERM: process.env["TERM"] ?? "dumb",
    HEDDLE_SKIPS: "fail",
    HEDDLE_SLOWDOWN: String(GUEST_SLOWDOWN),
    ...Object.fromEntries(given),
  };
}

/** What the tests of a run noted in this file (`HEDDLE_DEFERRED`): files, and features of the kernel they want. */
export function deferredIn(path: string): Deferred | undefined {
  if (!existsSync(path)) return undefined;
  const notes = readFileSync(path, "utf8").trimEnd().split("\n");
  const all = notes.map((line) => JSON.parse(line) as Deferred);
  return {
    files: [
      ...new Set(all.flatMap(({ files }) => files.map((file) => relative(projectDir, file)))),
    ].toSorted(),
    features: [...new Set(all.flatMap(({ features }) => features))].toSorted(),
  };
}

/** Runs of these files the tests that want one of these features, in one guest. @throws if there can be no guest */
export function runDeferred(
  { files, features }: Deferred,
  { seed, limitS, print }: { readonly seed: string } & Required<Pick<GuestRun, "limitS" | "print">>,
): Promise<GuestOutcome> {
  const order = [`--parallel=${PROCESSORS}`, "--randomize", `--seed=${seed}`, "--only-failures"];
  const report = reportTo(GUEST_TIMES);
  const which = ["--test-name-pattern", patternOfFeatures(features), ...files.map((file) => `./${file}`)];
  return runInGuest({
    kernel: "6.1",
    argv: testArguments([...order, ...report, ...which]),
    env: guestEnv(),
    limitS,
    print,
  });
}
