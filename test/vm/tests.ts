/** How test files are run in a guest: the test runner's arguments and environment there. */
import { GUEST_SLOWDOWN } from "./machine.ts";

/** What one test may take on the host, in milliseconds, unless it says more itself. */
export const TEST_LIMIT_MS = 30_000;

/** The test runner with these files and options. */
export const testArguments = (rest: readonly string[]): readonly string[] => [
  ...[process.execPath, "test", "--isolate", `--timeout=${TEST_LIMIT_MS * GUEST_SLOWDOWN}`],
  ...rest,
];

/** The environment of tests in a guest: it has everything, so nothing may be skipped. */
export function guestEnv(): Readonly<Record<string, string>> {
  const peer = process.env["HEDDLE_PEER_DIR"];
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: process.env["HOME"] ?? "/",
    TERM: process.env["TERM"] ?? "dumb",
    HEDDLE_SKIPS: "fail",
    HEDDLE_SLOWDOWN: String(GUEST_SLOWDOWN),
    ...(peer === undefined ? {} : { HEDDLE_PEER_DIR: peer }),
  };
}
