/**
 * After the machine's end: containers, namespaces, links and rules are gone, what is on disk is not. Everything is given back
 * by the runtime's own DEL, or, where a runtime does not come to it, by Heddle's commands.
 */
import { describe, expect } from "bun:test";
import { readdirSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import {
  type ContainerdSite,
  containerdSite,
  containerdTree,
  type ContainerdVersion,
  containerds,
  POD_NETWORK,
} from "./containerd.ts";
import { type Ground, groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft, owned } from "./left.ts";
import { type PodmanSite, podmanSite, podmanTree } from "./podman.ts";
import { endPod, podIds, runPod } from "./pods.ts";
import { asked } from "./traffic.ts";

const heddle = heddleOfFile();
const LIMIT_MS = patience(120_000);
const WEB = [{ hostPort: 8080, containerPort: 80 }];

const LOOPBACK = "file cni/results/cni-loopback-";

/** Addresses of the network that are reserved. */
const reserved = (on: Ground, network: string): readonly string[] =>
  readdirSync(on.path(`/var/lib/cni/networks/${network}`)).filter((name) => /^[\da-f]+[.:]/.test(name));

/** Nothing of the network is in the kernel; on disk everything is as it was. */
async function expectRebooted(on: Ground, network: string): Promise<void> {
  expect((await on.exec(["ip", "-br", "link"])).stdout).toMatch(/^lo +\S+ +\S+ +\S+\s*$/);
  expect((await on.exec(["nft", "list", "ruleset"])).stdout).toBe("");
  expect(reserved(on, network)).not.toEqual([]);
  expect((await owned(on)).join("\n")).toContain("cni/results/");
}

async function twoPods(site: ContainerdSite, keepRecords: boolean): Promise<void> {
  await runPod(site.cri(), "web", WEB);
  await runPod(site.cri(), "other");
  await site.stop("SIGKILL");
  await site.on.reboot({ keepRecords });
  await expectRebooted(site.on, POD_NETWORK.name);
}

for (const version of Object.keys(containerds) as ContainerdVersion[]) {
  const tree = await containerdTree(version);
  const rebootTest = (title: string, body: (site: ContainerdSite) => Promise<void>): void =>
    groundTest(tree)(
      title,
      async () => {
        await using site = await containerdSite(version, tree, heddle);
        await body(site);
      },
      LIMIT_MS,
    );

  describe(`containerd ${version} after a reboot`, () => {
    for (const keepRecords of [false, true])
      rebootTest(
        `frees everything when the kubelet ends its pods, ${keepRecords ? "with" : "without"} records`,
        async (site) => {
          await twoPods(site, keepRecords);
          await site.start();
          const old = await podIds(site.cri());
          expect(old).toHaveLength(2);
          // The kubelet begins with new ones.
          const again = await runPod(site.cri(), "again", WEB);
          expect(await asked(site.on.net, "127.0.0.1", 8080)).toBe(POD_NETWORK.gateway);
          for (const id of old) await endPod(site.cri(), id);
          expect(reserved(site.on, POD_NETWORK.name).toSorted()).toEqual(again.ips.toSorted());
          expect(await asked(site.on.net, "127.0.0.1", 8080)).toBe(POD_NETWORK.gateway);
          await endPod(site.cri(), again.id);
          await nothingLeft(site.on);
        },
      );

    rebootTest("leaves to `heddle gc` what its own state has lost, by the records", async (site) => {
      await twoPods(site, true);
      await site.on.exec(["heddle", "gc"]);
      await nothingLeft(site.on);
    });

    rebootTest(
      "leaves to `heddle cni gc` what its own state has lost, by the cache that containerd wrote",
      async (site) => {
        await twoPods(site, false);
        await site.on.exec(["heddle", "cni", "gc", POD_NETWORK.name], {
          env: { ...plainEnv, CNI_PATH: "/opt/cni/bin" },
        });
        // What containerd remembers of loopbacks is of a network that no configuration names, and nothing but that.
        const left = (await owned(site.on)).filter((line) => !line.startsWith(LOOPBACK));
        expect(left).toEqual([]);
      },
    );
  });
}

const podman = await podmanTree();

describe("Podman 4 after a reboot", () => {
  const podmanTest = (title: string, body: (site: PodmanSite) => Promise<void>): void =>
    groundTest(podman)(
      title,
      async () => {
        await using site = await podmanSite(podman, heddle);
        await site.podman("network", "create", "--subnet", "10.99.0.0/24", "web");
        const words = ["--ip", "10.99.0.7", "--publish", "8080:80"];
        await site.podman(
          ...["run", "--detach", "--name", "a", "--ulimit", "host", "--network", "web", ...words, IMAGE],
        );
        await body(site);
      },
      LIMIT_MS,
    );

  for (const keepRecords of [false, true]) {
    const how = `${keepRecords ? "with" : "without"} records`;
    podmanTest(`starts a container again with its fixed address and its port, ${how}`, async (site) => {
      await site.on.reboot({ keepRecords });
      await expectRebooted(site.on, "web");
      await site.podman("start", "a");
      expect(await asked(site.on.net, "127.0.0.1", 8080)).toBe("10.99.0.1");
      expect(await asked(site.on.net, "10.99.0.7", 80)).toBe("10.99.0.1");
      await site.podman("rm", "--force", "--time", "0", "a");
      await nothingLeft(site.on);
    });

    // It forgets a container's networks when it notices the reboot, and calls DEL only for one that it starts again.
    const command = keepRecords ? ["heddle", "gc"] : ["heddle", "cni", "gc", "web"];
    podmanTest(
      `leaves to \`${command.join(" ")}\` a container that is not started again, ${how}`,
      async (site) => {
        await site.on.reboot({ keepRecords });
        await site.podman("rm", "a");
        expect(reserved(site.on, "web")).toEqual(["10.99.0.7"]);
        await site.on.exec(command, { env: { ...plainEnv, CNI_PATH: "/opt/cni/bin" } });
        await nothingLeft(site.on);
      },
    );
  }
});
