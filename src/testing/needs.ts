/**
 * What a test needs of the machine: root, programs, a kernel feature. A test whose need is not met is skipped and the
 * reason printed once per file; with `HEDDLE_SKIPS=fail` (a machine that is meant to have everything) it fails instead.
 */
import { describe, test } from "bun:test";
import { appendFileSync } from "node:fs";
import { type KernelFeature, kernelHas } from "./features.ts";
import { patience } from "./slowdown.ts";

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

/** Tests that this kernel cannot run: their files, and what it lacks. */
export interface Deferred {
  readonly files: readonly string[];
  readonly features: readonly KernelFeature[];
}

/**
 * Tests for kernels with all of these features. A kernel that lacks one skips them, and under `npm test` they are
 * noted and run in a virtual machine whose kernel has everything. Inside, `kernelTest` and `test` as usual.
 */
export function onKernelWith(features: readonly KernelFeature[], tests: () => void): void {
  describe.skipIf(isLacking(features))(`[kernel with ${features.join(", ")}]`, tests);
}

/** One test for kernels with all of these features, as in `onKernelWith`. */
export const kernelTestWith =
  (...features: readonly KernelFeature[]) =>
  (title: string, body: () => void | Promise<void>, timeoutMs = 30_000): void =>
    features.length === 0
      ? kernelTest(title, body, patience(timeoutMs))
      : onKernelWith(features, () => test(title, body, patience(timeoutMs)));

/** A pattern for the test runner: the tests that want one of these features. */
export const patternOfFeatures = (features: readonly KernelFeature[]): string =>
  `(?:\\[kernel with |, )(?:${features.join("|")})(?:, |\\])`;

function isLacking(features: readonly KernelFeature[]): boolean {
  if (shallSkip({ root: true, programs: ["ip", "tc", "nft", "unshare"] })) return true;
  const missing = features.filter((feature) => !kernelHas(feature));
  if (missing.length === 0) return false;
  const notes = process.env["HEDDLE_DEFERRED"];
  if (notes === undefined) return shallSkip({ feature: `needs a kernel with ${missing.join(", ")}` });
  const note: Deferred = { files: [Bun.main], features: missing };
  appendFileSync(notes, `${JSON.stringify(note)}\n`);
  return true;
}
