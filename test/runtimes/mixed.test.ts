/**
 * One list with plugins of the reference beside Heddle's, under Podman, chosen by the seed (`HEDDLE_SEED` repeats it);
 * `mixed.long.test.ts` has them all, and containerd.
 */
import { describe } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groundTest } from "./ground.ts";
import { podmanOnMixture } from "./mixed.ts";
import { podmanTree } from "./podman.ts";
import { mixtures, mixtureTitle } from "./reference.ts";

const heddle = heddleOfFile();
const tree = await podmanTree();

describe("Podman 4 serves a container and takes everything back", () => {
  for (const mixture of sample(mixtures, 1, seed))
    groundTest(tree)(`by ${mixtureTitle(mixture)}`, () => podmanOnMixture(heddle, mixture), patience(90_000));
});
