/** What the README says of container runtimes: each block runs as it stands, on a machine of the runtime's own. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { plainEnv, type Outcome } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { containerdSite, containerdTree } from "./containerd.ts";
import { dockerSite, dockerTree } from "./docker.ts";
import { type Ground, groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import { podmanSite, podmanTree } from "./podman.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const LIMIT_MS = patience(90_000);

const blocks = new Map(
  [
    ...readFileSync(inProject("README.md"), "utf8").matchAll(
      /^<!-- run with ([\w ]+) -->\n\n```sh\n([^]*?)^```$/gm,
    ),
  ].map(([, runtime = "", commands = ""]) => [runtime, commands]),
);

const follow = (on: Ground, runtime: string): Promise<Outcome> =>
  on.exec(["sh", "-e", "-c", blocks.get(runtime) ?? "exit 1"], {
    env: { ...plainEnv, HOME: "/root", PODMAN_IGNORE_CGROUPSV1_WARNING: "1", IMAGE },
    timeoutMs: 60_000,
  });

/** What Docker and Podman have then: a container on the network, and a port of the host that leads to it. */
async function served(on: Ground): Promise<void> {
  await using machine = await outside(on);
  expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
  const attached: unknown = JSON.parse((await on.exec(["heddle", "ps", "--json"])).stdout);
  expect(attached).toEqual([expect.objectContaining({ state: "ok" })]);
}

/** Trees by the words of the page, and what a block has to show on a ground with its runtime. */
const runtimes = {
  containerd: {
    tree: await containerdTree("1.6"),
    follows: async (tree: string | undefined) => {
      await using site = await containerdSite("1.6", tree, heddle);
      const { stdout } = await follow(site.on, "containerd");
      expect(stdout).toMatch(/inet 10\.88\.0\.\d+\/16 /);
      await nothingLeft(site.on);
    },
  },
  "podman 4": {
    tree: await podmanTree("4"),
    follows: async (tree: string | undefined) => {
      await using site = await podmanSite(tree, heddle, "4");
      await follow(site.on, "podman 4");
      await served(site.on);
    },
  },
  "podman 5": {
    tree: await podmanTree("5"),
    follows: async (tree: string | undefined) => {
      await using site = await podmanSite(tree, heddle, "5");
      // The manual has the same names.
      await site.podman("rm", "--force", "--time", "0", "--all");
      await site.podman("network", "rm", "web");
      await follow(site.on, "podman 5");
      await served(site.on);
    },
  },
  docker: {
    tree: await dockerTree("20.10"),
    follows: async (tree: string | undefined) => {
      await using site = await dockerSite(tree, heddle);
      await follow(site.on, "docker");
      await served(site.on);
    },
  },
} as const;

describe("the README's block", () => {
  test("is there for every runtime, and for no other", () => {
    expect([...blocks.keys()].toSorted()).toEqual(Object.keys(runtimes).toSorted());
  });
  for (const [runtime, { tree, follows }] of Object.entries(runtimes))
    groundTest(tree)(`for ${runtime} runs as it stands`, () => follows(tree), LIMIT_MS);
});
