/**
 * What a test needs of the machine: root, programs, a kernel feature. A test whose need is not met is skipped and the
 * reason printed once per file; with `HEDDLE_SKIPS=fail` (a machine that is meant to have everything) it fails instead.
 */
import { describe, test } from "bun:test";

export interface Needs {
  /** Root in the initial user namespace: needed for network namespaces. */
  readonly root?: boolean;
  /** Programs that must be found in `PATH`. */
  readonly programs?: readonly string[];
  /** Anything else: true, or the reason why not. */
  readonly feature?: true | string;
}

/** Why these needs are not met on this machine; undefined if they are. */
export function whyNot(needs: Needs): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (needs.root === true && process.geteuid?.() !== 0) return "needs root";
  const missing = (needs.programs ?? []).filter((program) => Bun.which(program) === null);
  if (missing.length > 0) return `needs ${missing.join(", ")}`;
  return needs.feature === undefined || needs.feature === true ? undefined : needs.feature;
}

const printed = new Set<string>();

function shallSkip(needs: Needs): boolean {
  const why = whyNot(needs);
  if (why === undefined) return false;
  if (process.env["HEDDLE_SKIPS"] === "fail") throw new Error(`this test ${why}, and nothing may be skipped`);
  if (!printed.has(why)) console.warn(`skipped: ${why}`);
  printed.add(why);
  return true;
}

/** `test`, or one that skips and says why. */
export const testWith = (needs: Needs) => test.skipIf(shallSkip(needs));
/** `describe`, or one whose tests are skipped, saying why. */
export const describeWith = (needs: Needs) => describe.skipIf(shallSkip(needs));

/** For tests in network namespaces: root and `ip`. */
export const kernelTest = testWith({ root: true, programs: ["ip"] });
