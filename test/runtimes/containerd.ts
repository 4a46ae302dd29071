/** containerd on a ground, as Debian packages it, set up for Heddle by the steps of `docs/runtimes.md`. */
import { readFileSync } from "node:fs";
import type { Suite } from "../../scripts/debian.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Cri, criAt } from "./cri.ts";
import { type Ground, ground, type GroundProcess } from "./ground.ts";
import { busyboxImage, IMAGE } from "./image.ts";
import { follow } from "./manual.ts";
import { rootTree } from "./root-tree.ts";

/**
 * The releases that are tested, each with the suite that has it, the newest configuration that it reads, and what it asks
 * of a plugin. None calls GC or CHECK.
 */
export const containerds = {
  "1.6": { suite: "bookworm", cniVersion: "1.0.0", verbs: ["ADD", "DEL"] },
  "2": { suite: "sid", cniVersion: "1.1.0", verbs: ["ADD", "DEL", "STATUS"] },
} as const satisfies Record<string, { suite: Suite; cniVersion: string; verbs: readonly string[] }>;
export type ContainerdVersion = keyof typeof containerds;

/** The tree of a release; undefined after printing why it cannot be had. */
export const containerdTree = (version: ContainerdVersion): Promise<string | undefined> =>
  rootTree(`containerd-${version}`, containerds[version].suite, ["containerd", "runc"]);

const SOCKET = "/run/containerd/containerd.sock";
const CONFIG = "/etc/containerd/config.toml";
export const CONFLIST = "/etc/cni/net.d/10-pods.conflist";
/** The network that the configuration makes: its bridge, its gateway, and what its addresses begin with. */
export const POD_NETWORK = {
  name: "pods",
  bridge: "pods0",
  gateway: "10.88.0.1",
  prefix: "10.88.0.",
  gateway6: "fd88::1",
  prefix6: "fd88::",
} as const;

export interface Containerd extends AsyncDisposable {
  /** The kubelet's connection, to the containerd that runs now. */
  cri(): Cri;
  /** Runs `ctr` with these words. */
  ctr(...words: readonly string[]): ReturnType<Ground["exec"]>;
  /** Waits until the container of this name runs. */
  running(name: string): Promise<void>;
  /** Ends containerd by this signal and starts it again; containers and sandboxes go on meanwhile. */
  restart(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  stop(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  start(): Promise<void>;
}
export interface ContainerdSite extends Containerd {
  readonly on: Ground;
}

/** A network's list, as far as tests change it. */
export interface NetworkList {
  readonly cniVersion: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/**
 * A ground that is set up as `docs/runtimes.md` says, with containerd running and the image loaded for `ctr` and for pods;
 * bind it with `await using`. `change` makes another network of the page's.
 */
export async function containerdSite(
  version: ContainerdVersion,
  tree: string | undefined,
  heddle: HeddleBinary,
  change: (list: NetworkList) => NetworkList = (list) => list,
): Promise<ContainerdSite> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  const containerd = made.use(await containerdOn(on, version, change));
  const kept = made.move();
  return { ...containerd, on, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** containerd as above, on a ground that has the image in `/image.tar` and may have others beside it. */
export async function containerdOn(
  on: Ground,
  version: ContainerdVersion,
  change: (list: NetworkList) => NetworkList = (list) => list,
): Promise<Containerd> {
  await using made = new AsyncDisposableStack();
  const { cniVersion } = containerds[version];
  await follow(on, "containerd", {
    edit: (content) => JSON.stringify(change({ ...(JSON.parse(content) as NetworkList), cniVersion })),
  });
  on.write(CONFIG, forTests(readFileSync(on.path(CONFIG), "utf8")));
  let daemon: GroundProcess | undefined;
  let cri: Cri | undefined;
  const start = async (): Promise<void> => {
    daemon = await on.start(["containerd"]);
    await daemon.log.line((line) => line.includes("containerd successfully booted"), patience(20_000));
    await criReady((cri = criAt(on.path(SOCKET))));
  };
  const stop: Containerd["stop"] = async (signal) => {
    cri?.[Symbol.dispose]();
    cri = undefined;
    await daemon?.end(signal);
  };
  made.defer(() => cri?.[Symbol.dispose]());
  await start();
  for (const namespace of ["default", "k8s.io"])
    await on.exec(["ctr", "--namespace", namespace, "image", "import", "/image.tar"]);
  const kept = made.move();
  const ctr: Containerd["ctr"] = (...words) => on.exec(["ctr", ...words]);
  return {
    running: async (name) => {
      const line = new RegExp(`^${name} +\\d+ +RUNNING`, "m");
      for (const deadline = performance.now() + patience(10_000); ; await Bun.sleep(10)) {
        const { stdout } = await ctr("task", "ls");
        if (line.test(stdout)) return;
        if (performance.now() > deadline) throw new Error(`${name} does not run: ${stdout}`);
      }
    },
    cri: () => {
      if (cri === undefined) throw new Error("containerd does not run");
      return cri;
    },
    ctr,
    start,
    stop,
    restart: async (signal) => {
      await stop(signal);
      await start();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** It listens before it answers; a kubelet asks until it does. */
async function criReady(cri: Cri): Promise<void> {
  for (const deadline = performance.now() + patience(20_000); ; await Bun.sleep(10))
    try {
      await cri.call("Status", {});
      return;
    } catch (e) {
      if (performance.now() > deadline) throw e;
    }
}

/**
 * Beside what the page says, what only the tests need: their own image for pods, and no lower score for the killer of
 * processes than the machine allows them.
 */
function forTests(config: string): string {
  const cri = '[plugins."io.containerd.grpc.v1.cri"]';
  if (!config.includes('bin_dir = "/opt/cni/bin"') || !config.includes(cri))
    throw new Error(`Debian's configuration of containerd is another one now:\n${config}`);
  return config.replace(cri, `${cri}\n      sandbox_image = "${IMAGE}"\n      restrict_oom_score_adj = true`);
}
