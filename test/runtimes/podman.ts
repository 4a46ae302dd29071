/** Podman on a ground, as Debian packages it, set up for Heddle by the steps of `docs/runtimes.md`. */
import type { Suite } from "../../scripts/debian.ts";
import { expect } from "bun:test";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { plainEnv, type Outcome } from "../../src/testing/run.ts";
import { type Ground, ground } from "./ground.ts";
import { busyboxImage, IMAGE } from "./image.ts";
import { follow } from "./manual.ts";
import { rootTree } from "./root-tree.ts";

/** The releases that are tested, each with the suite that has it and the packages that it consists of there. */
const podmans = {
  "4": { suite: "bookworm", packages: ["podman", "crun"] },
  "5": { suite: "sid", packages: ["podman", "netavark", "crun"] },
} as const satisfies Record<string, { suite: Suite; packages: readonly string[] }>;
type PodmanVersion = keyof typeof podmans;

/** The tree of a release; undefined after printing why it cannot be had. */
export const podmanTree = (version: PodmanVersion = "4"): Promise<string | undefined> =>
  rootTree(`podman-${version}`, podmans[version].suite, podmans[version].packages);

/**
 * What only the tests need: neither systemd nor its journal is there, layers are copied, and the test may not have the right
 * to raise limits.
 */
const ENGINE =
  '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n' +
  '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n';
const STORAGE =
  '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n';
const POLICY = '{ "default": [{ "type": "insecureAcceptAnything" }] }\n';

/** Of every call. The machine may have control groups of the old kind only. */
const OPTIONS = {
  env: { ...plainEnv, HOME: "/root", PODMAN_IGNORE_CGROUPSV1_WARNING: "1", IMAGE },
  timeoutMs: 60_000,
} as const;

/** Runs `podman` with these words; a failure throws. */
export type Podman = (...words: readonly string[]) => Promise<Outcome>;

export interface PodmanSite extends AsyncDisposable {
  readonly on: Ground;
  readonly podman: Podman;
  /** As `podman`; what it says when it fails. */
  refused(...words: readonly string[]): Promise<string>;
}

/** A ground with the image loaded, and what the page says done; bind it with `await using`. */
export async function podmanSite(
  tree: string | undefined,
  heddle: HeddleBinary,
  version: PodmanVersion = "4",
): Promise<PodmanSite> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  const podman = await podmanOn(on, version);
  const kept = made.move();
  return {
    on,
    podman,
    refused: async (...words) => {
      const { code, stderr } = await on.exec(["podman", ...words], { ...OPTIONS, mustSucceed: false });
      if (code === 0) throw new Error(`podman ${words.join(" ")} did not fail`);
      return stderr;
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Podman as above, on a ground that has the image in `/image.tar` and may have others beside it. */
export async function podmanOn(on: Ground, version: PodmanVersion = "4"): Promise<Podman> {
  on.write("/etc/containers/containers.conf.d/tests.conf", ENGINE);
  on.write("/etc/containers/storage.conf", STORAGE);
  on.write("/etc/containers/policy.json", POLICY);
  const podman: Podman = (...words) => on.exec(["podman", ...words], OPTIONS);
  await podman("load", "--input", "/image.tar");
  await follow(on, `Podman ${version}`, { env: OPTIONS.env });
  return podman;
}

/** Starts a container of this name that serves the page. */
export const startContainer = (
  { podman }: PodmanSite,
  name: string,
  ...options: readonly string[]
): Promise<unknown> => podman("run", "--detach", "--name", name, ...options, IMAGE);

export const endContainers = ({ podman }: PodmanSite, ...names: readonly string[]): Promise<unknown> =>
  podman("rm", "--force", "--time", "0", ...names);

/** What a program prints in the container. */
export const inContainer = async (
  { podman }: PodmanSite,
  name: string,
  ...words: readonly string[]
): Promise<string> => (await podman("exec", name, ...words)).stdout;

/**
 * Flushes the rule set, and has it put back by Heddle and then by Podman: nobody is served meanwhile, and each time after that
 * `served` and `kept` say what they said before.
 */
export async function survivesFlushes(
  { on, podman }: PodmanSite,
  served: () => Promise<string | undefined>,
  kept: () => Promise<unknown>,
): Promise<void> {
  const before = await Promise.all([served(), kept()]);
  expect(before[0]).toBeDefined();
  const ways = [() => on.exec(["heddle", "reload", "--all"]), () => podman("network", "reload", "--all")];
  for (const putBack of ways) {
    await on.exec(["nft", "flush", "ruleset"]);
    expect(await served()).toBeUndefined();
    await putBack();
    expect(await Promise.all([served(), kept()])).toEqual(before);
  }
}
