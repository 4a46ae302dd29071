/**
 * A sample of the fault loops: a system call of the executable fails, or the process is killed at it. The seed is
 * printed; `HEDDLE_SEED` repeats a choice. `faults.long.test.ts` does all of them.
 */
import { describe, expect } from "bun:test";
import { sample } from "../src/testing/faults.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { kernelTestWith, testWith } from "../src/testing/needs.ts";
import { isAll, seed, some } from "../src/testing/seed.ts";
import { patience } from "../src/testing/slowdown.ts";
import { casesOf, runCases, lane, plain } from "./faults/loop.ts";
import { type Scenario, scenarios } from "./faults/scenarios.ts";

const PROGRAMS = ["ip", "nft", "iptables-restore", "strace", "nsenter", "unshare"];
/**
 * Cases a scenario, and the time after which no new one begins: the rest of the machine is busy with other tests. In the virtual
 * machine, which no other test does all of, `npm run test:all` takes longer.
 */
const CASES = isAll ? 200 : 12;
/** Fewer than these that ran would prove nothing. */
const FEWEST = patience(2, isAll ? 20 : 2);
const LIMIT_MS = 4_000;
const GUEST_LIMIT_MS = isAll ? 90_000 : 10_000;

const heddle = heddleOfFile();
console.log(`fault sample: HEDDLE_SEED=${seed}`);

async function sampled(scenario: Scenario): Promise<void> {
  const cases = sample(await casesOf(heddle, scenario), CASES, seed);
  const deadline = performance.now() + patience(LIMIT_MS, GUEST_LIMIT_MS);
  const { ran, failures } = await runCases(heddle, cases, deadline);
  expect(failures).toEqual([]);
  expect(ran).toBeGreaterThanOrEqual(FEWEST);
}

/** While a fresh kernel loads a module for one who asks for a link, it refuses others who ask. */
async function loadModules(scenario: Scenario): Promise<void> {
  await using on = await lane(heddle);
  await plain(scenario, on.subject);
}

describe("after a fault in a verb, DEL of the key, ADD of the key, or GC leaves nothing", () => {
  const everywhere = scenarios.filter((s) => s.features === undefined);
  testWith({ root: true, programs: PROGRAMS }).each(everywhere.map((s) => [s.name, s] as const))(
    "%s",
    (_, scenario) => sampled(scenario),
    patience(60_000),
  );
  const elsewhere = scenarios.filter((s) => s.features !== undefined);
  for (const scenario of some(elsewhere, 1))
    if (scenario.features)
      kernelTestWith(...scenario.features)(
        scenario.name,
        async () => {
          await loadModules(scenario);
          await sampled(scenario);
        },
        45_000 + GUEST_LIMIT_MS,
      );
});
