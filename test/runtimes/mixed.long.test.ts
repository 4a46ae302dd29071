/** Every list with plugins of the reference beside Heddle's, under Podman and under both releases of containerd. */
import { describe } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { containerdTree, type ContainerdVersion, containerds } from "./containerd.ts";
import { groundTest } from "./ground.ts";
import { podmanOnMixture, podOnMixture } from "./mixed.ts";
import { podmanTree } from "./podman.ts";
import { mixtures, mixtureTitle } from "./reference.ts";

const heddle = heddleOfFile();
const LIMIT_MS = patience(90_000);
const podman = await podmanTree();

describe("Podman 4 serves a container and takes everything back", () => {
  for (const mixture of mixtures)
    groundTest(podman)(`by ${mixtureTitle(mixture)}`, () => podmanOnMixture(heddle, mixture), LIMIT_MS);
});

for (const version of Object.keys(containerds) as ContainerdVersion[]) {
  const tree = await containerdTree(version);
  describe(`containerd ${version} serves a pod and takes everything back`, () => {
    for (const mixture of mixtures)
      groundTest(tree)(`by ${mixtureTitle(mixture)}`, () => podOnMixture(version, heddle, mixture), LIMIT_MS);
  });
}
