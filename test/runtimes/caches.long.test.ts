/**
 * What runtimes remember of attachments, `/var/lib/cni/results`, read by one another: Heddle's runtime ends what containerd
 * and Podman have begun with the reference's plugins, and both go by files that Heddle has written.
 */
import { describe, expect } from "bun:test";
import { readdirSync } from "node:fs";
import type { Entry } from "../../src/cli/ps/entry.ts";
import { listCache, writeCache } from "../../src/cni/cache.ts";
import { netnsId } from "../../src/cni/host.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { containerdSite, containerdTree, type ContainerdVersion, containerds } from "./containerd.ts";
import { type Ground, groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft, owned } from "./left.ts";
import { podmanSite, podmanTree } from "./podman.ts";
import { endPod, runPod } from "./pods.ts";
import { LISTED, useReference } from "./reference.ts";

const heddle = heddleOfFile();
const LIMIT_MS = patience(90_000);
const CACHE = "/var/lib/cni";
/** What the written entry's result says, and no runtime would of itself. */
const SIGN = "written.heddle.test";

/** What runs a container of one network, for both directions. */
interface Running {
  readonly on: Ground;
  readonly network: string;
  /** @returns the container's address */
  begin(): Promise<string>;
  end(): Promise<void>;
  /** Takes the runtime and the container's processes away without a word to anybody. */
  vanish(): Promise<void>;
}

/** Heddle goes by the entry: it shows what is attached, and detaches it. */
async function readsTheirs({ on, network, begin, vanish }: Running): Promise<void> {
  await useReference(on, [...LISTED, "loopback"]);
  const address = await begin();
  const { stdout } = await on.exec(["heddle", "ps", "--network", network, "--json"]);
  const [entry] = JSON.parse(stdout) as readonly Entry[];
  expect(entry).toMatchObject({
    network,
    state: "no record",
    ports: [{ hostPort: 8080, containerPort: 80 }],
  });
  expect(entry?.addresses.map((one) => one.split("/")[0])).toContain(address);
  const rules = async (): Promise<string> => (await on.exec(["iptables-save"])).stdout;
  expect(await rules()).toContain(address);
  await vanish();
  // Without a namespace's path, which older runtimes do not write down, the reference leaves its rules.
  await on.exec(["heddle", "install", "--force", "--cni-bin-dir", "/opt/cni/bin"]);
  const env = { ...plainEnv, CNI_PATH: "/opt/cni/bin" };
  await on.exec(["heddle", "cni", "gc", network], { env });
  expect(await rules()).not.toContain(address);
  expect((await owned(on)).filter((line) => line.includes(`/${network}`))).toEqual([]);
}

/** Keeps what the plugin `bridge` is told at DEL. */
async function listen(on: Ground): Promise<() => Promise<string>> {
  await on.exec(["mkdir", "/opt/cni/real"]);
  await on.exec(["ln", "-s", "/opt/cni/bin/heddle", "/opt/cni/real/bridge"]);
  await on.exec(["rm", "/opt/cni/bin/bridge"]);
  const lines = ["#!/bin/sh", "tee -a /tmp/$CNI_COMMAND | /opt/cni/real/bridge", ""];
  on.write("/opt/cni/bin/bridge", lines.join("\n"), 0o755);
  return async () => (await on.exec(["cat", "/tmp/DEL"])).stdout;
}

/** The runtime goes by an entry that is Heddle's: it tells the plugins what stands there. */
async function readOurs({ on, network, begin, end }: Running): Promise<void> {
  const told = await listen(on);
  await begin();
  const entry = listCache(on.path(CACHE)).find(({ key }) => key.network === network);
  if (entry?.result === undefined) throw new Error(`no entry of ${network}`);
  // Those of older runtimes do not have the namespace.
  const identity = entry.netns === undefined ? undefined : netnsId(on.path(entry.netns));
  const result = { ...entry.result, dns: { domain: SIGN } };
  writeCache(on.path(CACHE), entry.key, { ...entry, result, ...(identity ? { netnsId: identity } : {}) });
  expect(readdirSync(on.path(`${CACHE}/results`)).filter((name) => name.startsWith(network))).toHaveLength(1);
  await end();
  expect(await told()).toContain(SIGN);
  await nothingLeft(on);
}

const directions = [
  ["is read by Heddle, which ends what the reference's plugins made", readsTheirs],
  ["may be Heddle's, which the runtime goes by", readOurs],
] as const;

for (const version of Object.keys(containerds) as ContainerdVersion[]) {
  const tree = await containerdTree(version);
  describe(`the cache of containerd ${version}`, () => {
    for (const [title, body] of directions)
      groundTest(tree)(
        title,
        async () => {
          await using site = await containerdSite(version, tree, heddle);
          let id = "";
          const begin = async (): Promise<string> => {
            const pod = await runPod(site.cri(), "web", [{ hostPort: 8080, containerPort: 80 }]);
            id = pod.id;
            return pod.ip;
          };
          const vanish = async (): Promise<void> => {
            await site.stop("SIGKILL");
            await site.on.kill(/containerd-shim|^\/bin\/httpd/);
          };
          const end = () => endPod(site.cri(), id);
          await body({ on: site.on, network: "pods", begin, end, vanish });
        },
        LIMIT_MS,
      );
  });
}

const tree = await podmanTree();

describe("the cache of Podman 4", () => {
  for (const [title, body] of directions)
    groundTest(tree)(
      title,
      async () => {
        await using site = await podmanSite(tree, heddle);
        const { on, podman } = site;
        await podman("network", "create", "--subnet", "10.99.0.0/24", "web");
        const begin = async (): Promise<string> => {
          const words = ["--ulimit", "host", "--network", "web", "--publish", "8080:80"];
          await podman("run", "--detach", "--name", "a", ...words, IMAGE);
          return "10.99.0.2";
        };
        const vanish = () => on.kill(/conmon|^\/bin\/httpd/);
        const end = async (): Promise<void> => void (await podman("rm", "--force", "--time", "0", "a"));
        await body({ on, network: "web", begin, end, vanish });
      },
      LIMIT_MS,
    );
});
