/** A container on a list of both: it has its address and its host port, and at its end nothing is left. */
import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { containerdSite, containerdTree, type ContainerdVersion } from "./containerd.ts";
import type { Ground } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import { podmanSite, podmanTree } from "./podman.ts";
import { endPod, runPod } from "./pods.ts";
import { LISTED, type Listed, type Mixture, useReference } from "./reference.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

async function served(on: Ground, mixture: Mixture, address: string): Promise<void> {
  expect(withRecords(on)).toEqual(LISTED.filter((type) => isOurs(mixture, type)));
  await using machine = await outside(on);
  expect(await asked(machine.path, address, 80)).toBe(UPLINK.outside);
  expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
  expect(await asked(on.net, "127.0.0.1", 8080)).toBeDefined();
}

/** IPAM plugins keep no record. */
const isOurs = (mixture: Mixture, type: Listed): boolean =>
  type !== "host-local" && !(mixture as readonly Listed[]).includes(type);

/** The plugins of Heddle that have attached the container: each has a record, whose name begins with its type. */
function withRecords(on: Ground): readonly string[] {
  const names = readdirSync(on.path("/run/heddle/attachments"));
  return LISTED.filter((type) => names.some((name) => name.startsWith(`heddle-${type}-`)));
}

async function freed(on: Ground, address: string): Promise<void> {
  await nothingLeft(on);
  for (const program of ["iptables-save", "ip6tables-save"])
    expect((await on.exec([program])).stdout).not.toContain(address);
  expect((await on.exec(["nft", "list", "ruleset"])).stdout).not.toContain(address);
}

export async function podmanOnMixture(heddle: HeddleBinary, mixture: Mixture): Promise<void> {
  await using site = await podmanSite(await podmanTree(), heddle);
  const { on, podman } = site;
  await useReference(on, mixture);
  await podman("network", "create", "--subnet", "10.99.0.0/24", "web");
  const words = ["--ip", "10.99.0.7", "--publish", "8080:80"];
  await podman("run", "--detach", "--name", "a", "--ulimit", "host", "--network", "web", ...words, IMAGE);
  await served(on, mixture, "10.99.0.7");
  await podman("rm", "--force", "--time", "0", "a");
  await freed(on, "10.99.0.7");
}

export async function podOnMixture(
  version: ContainerdVersion,
  heddle: HeddleBinary,
  mixture: Mixture,
): Promise<void> {
  await using site = await containerdSite(version, await containerdTree(version), heddle);
  await useReference(site.on, mixture);
  const pod = await runPod(site.cri(), "web", [{ hostPort: 8080, containerPort: 80 }]);
  await served(site.on, mixture, pod.ip);
  await site.restart("SIGTERM");
  await endPod(site.cri(), pod.id);
  await freed(site.on, pod.ip);
}
