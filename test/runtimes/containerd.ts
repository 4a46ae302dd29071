/**
 * containerd on a ground, as Debian packages it and as an operator sets it up for Heddle: `docs/runtimes.md` says the
 * same. The image of pod sandboxes is the tests' own.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Suite } from "../../scripts/debian.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Cri, criAt } from "./cri.ts";
import { type Ground, ground, type GroundProcess } from "./ground.ts";
import { busyboxImage, IMAGE } from "./image.ts";
import { rootTree } from "./root-tree.ts";

/** The releases that are tested, each with the suite that has it and the newest configuration that it reads. */
export const containerds = {
  "1.6": { suite: "bookworm", cniVersion: "1.0.0" },
  "2": { suite: "sid", cniVersion: "1.1.0" },
} as const satisfies Record<string, { suite: Suite; cniVersion: string }>;
export type ContainerdVersion = keyof typeof containerds;

/** The tree of a release; undefined after printing why it cannot be had. */
export const containerdTree = (version: ContainerdVersion): Promise<string | undefined> =>
  rootTree(`containerd-${version}`, containerds[version].suite, ["containerd", "runc"]);

const SOCKET = "/run/containerd/containerd.sock";
const CONFIG = "/etc/containerd/config.toml";
const CONFLIST = "/etc/cni/net.d/10-pods.conflist";
/** The network that the configuration makes: its bridge, its gateway, and what its addresses begin with. */
export const POD_NETWORK = {
  name: "pods",
  bridge: "pods0",
  gateway: "10.88.0.1",
  prefix: "10.88.0.",
} as const;

export interface ContainerdSite extends AsyncDisposable {
  readonly on: Ground;
  /** The kubelet's connection, to the containerd that runs now. */
  cri(): Cri;
  /** Runs `ctr` with these words. */
  ctr(...words: readonly string[]): ReturnType<Ground["exec"]>;
  /** Waits until the container of this name runs. */
  running(name: string): Promise<void>;
  /** What containerd has printed since it was started. */
  log(): readonly string[];
  /** Ends containerd by this signal and starts it again; containers and sandboxes go on meanwhile. */
  restart(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  stop(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  start(): Promise<void>;
}

/** A conflist for pods: what the page for operators shows, with the version that this release understands. */
export const podNetwork = (version: ContainerdVersion) => ({
  cniVersion: containerds[version].cniVersion,
  name: POD_NETWORK.name,
  plugins: [
    {
      type: "bridge",
      bridge: POD_NETWORK.bridge,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.88.0.0/16" }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
    },
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "firewall" },
    { type: "tuning" },
  ],
});

/** A ground with containerd running and the image loaded for `ctr` and for pods; bind it with `await using`. */
export async function containerdSite(
  version: ContainerdVersion,
  tree: string | undefined,
  heddle: HeddleBinary,
): Promise<ContainerdSite> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write(CONFLIST, JSON.stringify(podNetwork(version), undefined, 2));
  on.write(CONFIG, configOf(readFileSync(join(tree ?? "", CONFIG), "utf8")));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  let daemon: GroundProcess | undefined;
  let cri: Cri | undefined;
  const start = async (): Promise<void> => {
    daemon = await on.start(["containerd"]);
    await daemon.log.line((line) => line.includes("containerd successfully booted"), patience(20_000));
  };
  const stop: ContainerdSite["stop"] = async (signal) => {
    cri?.[Symbol.dispose]();
    cri = undefined;
    await daemon?.end(signal);
  };
  made.defer(() => cri?.[Symbol.dispose]());
  await start();
  for (const namespace of ["default", "k8s.io"])
    await on.exec(["ctr", "--namespace", namespace, "image", "import", "/image.tar"]);
  const kept = made.move();
  const ctr: ContainerdSite["ctr"] = (...words) => on.exec(["ctr", ...words]);
  return {
    on,
    running: async (name) => {
      const line = new RegExp(`^${name} +\\d+ +RUNNING`, "m");
      for (const deadline = performance.now() + patience(10_000); ; await Bun.sleep(10)) {
        const { stdout } = await ctr("task", "ls");
        if (line.test(stdout)) return;
        if (performance.now() > deadline) throw new Error(`${name} does not run: ${stdout}`);
      }
    },
    cri: () => (cri ??= criAt(on.path(SOCKET))),
    ctr,
    log: () => daemon?.log.lines() ?? [],
    start,
    stop,
    restart: async (signal) => {
      await stop(signal);
      await start();
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/**
 * Debian's configuration with Heddle's directory of plugins. Beside it what the tests need: their own image for pods, and no
 * lower score for the killer of processes than the machine allows them.
 */
function configOf(debian: string): string {
  const cri = '[plugins."io.containerd.grpc.v1.cri"]';
  const own = `${cri}\n      sandbox_image = "${IMAGE}"\n      restrict_oom_score_adj = true`;
  const config = debian.replace('bin_dir = "/usr/lib/cni"', 'bin_dir = "/opt/cni/bin"').replace(cri, own);
  if (!config.includes("/opt/cni/bin") || !config.includes(IMAGE))
    throw new Error(`Debian's configuration of containerd is another one now:\n${debian}`);
  return config;
}
