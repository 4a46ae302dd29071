/** Looking at everything while nobody is at work: at rest in between, and at the end. */
import { readdirSync } from "node:fs";
import { patience } from "../../src/testing/slowdown.ts";
import type { Entry } from "../../src/cli/ps/entry.ts";
import { POD_NETWORK } from "../runtimes/containerd.ts";
import { owned } from "../runtimes/left.ts";
import { endPod, podIds } from "../runtimes/pods.ts";
import { stop } from "./lane.ts";
import { listsOf } from "./lists.ts";
import type { RuntimeName } from "./model.ts";
import { DOCKER_NETWORK, PODMAN_NETWORK, type Site } from "./site.ts";
import { inState, messageOf, serves, type World } from "./world.ts";

const plain = (address: string): string => address.split("/")[0] ?? "";

async function listed({ on }: Site): Promise<readonly Entry[]> {
  const { stdout } = await on.exec(["heddle", "ps", "--json"], { timeoutMs: 60_000 });
  return JSON.parse(stdout) as readonly Entry[];
}

/** Everybody stops for a moment: each container that has to serve is attached once, as it was made, and serves. */
export async function lookAtRest(world: World): Promise<void> {
  const { site, ledger, work } = world;
  await work.alone(async () => {
    await site.on.exec(["heddle", "gc"], { timeoutMs: 60_000 });
    const entries = (await listed(site)).filter(({ plugins }) => !plugins.includes("loopback"));
    for (const { state, network, containerId, why } of entries)
      if (state === "dead")
        ledger.violation("heddle gc left what is dead", `${containerId} on ${network}: ${why}`);
    const holders = Map.groupBy(
      entries.flatMap((entry) => entry.addresses.map((address) => ({ address: plain(address), entry }))),
      ({ address }) => address,
    );
    for (const [address, several] of holders)
      if (several.length > 1)
        ledger.violation(
          "an address is attached twice",
          `${address}: ${several.map(({ entry }) => `${entry.containerId} on ${entry.network}`).join(", ")}`,
        );
    // `heddle ps` has what plugins of CNI attached.
    for (const one of inState(world, "live").filter(({ runtime }) => runtime !== "docker"))
      for (const address of one.started?.addresses ?? []) {
        const entry = holders.get(address)?.[0]?.entry;
        if (entry?.state !== "ok")
          ledger.violation(`${one.name} is not as it was attached`, JSON.stringify(entry ?? `no ${address}`));
      }
    await Promise.all(inState(world, "live").map((one) => serves(world, one)));
  });
}

/** What the end of a soak has found. */
export interface Ending {
  /** Attachments that runtimes had left, which GC then took away. */
  readonly freedByGc: number;
  /** What was left of containers after that. */
  readonly left: readonly string[];
}

const TRIES = 3;
const SETTLE_MS = 10_000;

/** Every container is stopped by its runtime; then GC is told that nothing is valid, and nothing may be left. */
export async function end(world: World): Promise<Ending> {
  const { site, drivers, ledger } = world;
  for (let nth = 0; nth < TRIES && world.containers.size > 0; nth++)
    for (const one of world.containers.values()) {
      const driver = drivers.get(one.runtime);
      if (driver !== undefined) await stop(world, driver, one);
    }
  for (const name of world.containers.keys())
    ledger.violation(`${name} cannot be stopped`, `in ${TRIES} tries`);
  try {
    await endUnknown(site);
    const freedByGc = (await listed(site)).length;
    await collectAll(world);
    const left = await settled(site);
    if (left.length > 0) ledger.violation("something was left", left.join("\n"));
    return { freedByGc, left };
  } catch (e) {
    ledger.violation("the end failed", messageOf(e));
    return { freedByGc: 0, left: [] };
  }
}

/** What runtimes have and no operation has told of: begun, and cut off. */
async function endUnknown({ containerd, docker, podman }: Site): Promise<void> {
  if (containerd !== undefined)
    for (const id of await podIds(containerd.cri())) await endPod(containerd.cri(), id);
  const words = ((await docker?.docker("ps", "-aq")) ?? "").split("\n").filter((id) => id !== "");
  if (words.length > 0) await docker?.docker("rm", "-f", ...words);
  await docker?.docker("network", "rm", DOCKER_NETWORK);
  await podman?.("rm", "--all", "--force", "--time", "0");
}

/** Lists before 1.1.0 have no GC: what only they know is free once its namespace is gone. */
async function collectAll({ site: { on }, drivers }: World): Promise<void> {
  const all: Readonly<Partial<Record<RuntimeName, readonly string[]>>> = {
    ...listsOf,
    pods: [POD_NETWORK.name],
    ctr: [POD_NETWORK.name],
    podman: [PODMAN_NETWORK],
  };
  const networks = new Set([...drivers.keys()].flatMap((name) => all[name] ?? []));
  for (const network of networks)
    await on.exec(["heddle", "cni", "gc", network], {
      env: { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", CNI_PATH: "/opt/cni/bin" },
      timeoutMs: 60_000,
    });
  for (const name of readdirSync(on.path("/run/netns")))
    await on.exec(["ip", "netns", "delete", name], { mustSucceed: false });
  await on.exec(["heddle", "gc"], { timeoutMs: 60_000 });
}

/** Chains of containers by iptables; what is shared has no such name. */
const OF_CONTAINER = /\bheddle-\w+-[0-9a-f]|CNI-(?:DN-)?[0-9a-f]{16,}/;

/** Links of the site. */
const OF_HOST = /: link under[01] /;
/** Routes to single containers; the shim itself is shared. */
const OVER_SHIM = /: route dst 10\..* dev shim/;

async function leftOf({ on }: Site): Promise<readonly string[]> {
  const [four, six, files] = await Promise.all([
    on.exec(["iptables-save"]),
    on.exec(["ip6tables-save"]),
    on.exec(["busybox", "find", "/var/lib/heddle", "-name", "*.json"], { mustSucceed: false }),
  ]);
  const lines = [four, six].flatMap(({ stdout }) =>
    stdout.split("\n").filter((line) => OF_CONTAINER.test(line)),
  );
  const shims = (await on.snapshot()).filter((line) => OVER_SHIM.test(line));
  return [
    ...(await owned(on)).filter((line) => !OF_HOST.test(line)),
    ...shims,
    ...lines,
    ...files.stdout.split("\n").filter((line) => line !== ""),
  ];
}

/** The kernel takes its time to take namespaces apart. */
async function settled(site: Site): Promise<readonly string[]> {
  for (const deadline = performance.now() + patience(SETTLE_MS); ; await Bun.sleep(50)) {
    const left = await leftOf(site);
    if (left.length === 0 || performance.now() > deadline) return left;
  }
}
