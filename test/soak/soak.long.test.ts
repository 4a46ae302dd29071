/**
 * A short soak of one runtime beside `heddle cni`: `npm run soak` is the long one, with all of them. `HEDDLE_SEED` repeats
 * the choices.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groundTest } from "../runtimes/ground.ts";
import { runtimeNames } from "./model.ts";
import { summary } from "./report.ts";
import { soakTree } from "./site.ts";
import { soak } from "./soak.ts";

const heddle = heddleOfFile();
const tree = await soakTree();
const [beside = "pods"] = sample(
  runtimeNames.filter((name) => name !== "lists"),
  1,
  seed,
);
const MINUTES = 1;

describe("containers that come and go while processes are killed, rules flushed and namespaces deleted", () => {
  groundTest(tree)(
    `are served and leave nothing, by heddle cni and ${beside}`,
    async () => {
      console.log(`soak: HEDDLE_SEED=${seed}`);
      const never = new AbortController().signal;
      const done = await soak(tree, heddle, { minutes: MINUTES, seed, runtimes: ["lists", beside] }, never);
      console.log(summary(done));
      expect(done.ledger.violations).toEqual([]);
      expect(done.ledger.answered()).toBeGreaterThan(0);
      expect(done.ledger.troubles.size).toBeGreaterThan(0);
    },
    patience(300_000),
  );
});
