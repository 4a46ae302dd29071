/**
 * Small crowds of containers, and garbage collection after kills, on a few lists chosen by a printed seed (`HEDDLE_SEED`
 * repeats a choice). `crowd.long.test.ts` does it with 500 containers, and on every list.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { seed, some } from "../../src/testing/seed.ts";
import { sample } from "../../src/testing/faults.ts";
import { chains, titleOf } from "./chains.ts";
import { faultsOfCrowd } from "./crowd.ts";
import { faultsOfMix } from "./kills.ts";
import { eachList, isRare } from "./setting.ts";

const usual = chains.filter((chain) => !isRare(chain));
const rare = chains.filter(isRare);
const LIMIT_MS = 10_000;

const heddle = heddleOfFile();
console.log(`crowds: HEDDLE_SEED=${seed}`);

describe("of a crowd no two have one address, and nothing is left", () => {
  eachList([...sample(usual, 3, seed), ...some(rare, 0)], titleOf, 90_000, async (chain) => {
    const containers = isRare(chain) ? 6 : 24;
    const crowd = { containers, parallel: 32, oneIn: 4, limitMs: LIMIT_MS };
    const { faults, attached } = await faultsOfCrowd(heddle, chain, crowd);
    expect(faults).toEqual([]);
    expect(attached).toBeGreaterThan(containers / 8);
  });
});

describe("after random kills, GC leaves exactly the valid attachments", () => {
  eachList(sample(usual, 2, seed + 1), titleOf, 90_000, async (chain) => {
    const mix = { containers: 12, steps: 4, parallel: 8, seed, limitMs: LIMIT_MS };
    expect((await faultsOfMix(heddle, chain, mix)).faults).toEqual([]);
  });
});
