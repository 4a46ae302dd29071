/**
 * Crowds of 500 containers by 32 processes, and garbage collection after many kills, on every list; fewer where a virtual
 * machine is needed. `HEDDLE_SEED` repeats the kills.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { seed } from "../../src/testing/seed.ts";
import { chains, titleOf } from "./chains.ts";
import { faultsOfCrowd } from "./crowd.ts";
import { faultsOfMix } from "./kills.ts";
import { eachList, isRare } from "./setting.ts";

/** For each list; then no container is begun any more. By iptables it takes longest. */
const LIMIT_MS = 10 * 60_000;

const heddle = heddleOfFile();
console.log(`crowds: HEDDLE_SEED=${seed}`);

describe("of a crowd no two have one address, and nothing is left", () => {
  eachList(chains, titleOf, 3 * LIMIT_MS, async (chain) => {
    const containers = isRare(chain) ? 16 : 500;
    const crowd = { containers, parallel: 32, oneIn: 8, limitMs: LIMIT_MS };
    const { faults, attached } = await faultsOfCrowd(heddle, chain, crowd);
    expect(faults).toEqual([]);
    expect(attached).toBe(containers);
  });
});

describe("after random kills, GC leaves exactly the valid attachments", () => {
  eachList(chains, titleOf, 3 * LIMIT_MS, async (chain) => {
    const mix = { containers: isRare(chain) ? 8 : 32, steps: 8, parallel: 8, seed, limitMs: LIMIT_MS };
    expect((await faultsOfMix(heddle, chain, mix)).faults).toEqual([]);
  });
});
