/**
 * Docker on a ground, as Debian packages it, with Heddle's plugin beside it: `docs/runtimes.md` says the same. The image is
 * the tests' own.
 */
import type { Suite } from "../../scripts/debian.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Ground, ground, type GroundProcess } from "./ground.ts";
import { busyboxImage } from "./image.ts";
import { rootTree } from "./root-tree.ts";

/** The releases that are tested, each with the suite that has it and the packages that it consists of there. */
export const dockers = {
  "20.10": { suite: "bookworm", packages: ["docker.io"] },
  newest: { suite: "sid", packages: ["docker.io", "docker-cli"] },
} as const satisfies Record<string, { suite: Suite; packages: readonly string[] }>;
export type DockerVersion = keyof typeof dockers;

/** The tree of a release; undefined after printing why it cannot be had. */
export const dockerTree = (version: DockerVersion): Promise<string | undefined> =>
  rootTree(`docker-${version}`, dockers[version].suite, dockers[version].packages);

/** A part of Docker that can be ended and started alone. */
export type DockerPart = "docker" | "plugin";

export interface Docker {
  /** Runs `docker` with these words and gives what it prints; a failure throws. */
  docker(...words: readonly string[]): Promise<string>;
  /** As `docker`; what it says when it fails. */
  refused(...words: readonly string[]): Promise<string>;
  /** Ends one of the daemons and starts it again. */
  restart(what: DockerPart, signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  stop(what: DockerPart, signal: "SIGTERM" | "SIGKILL"): Promise<void>;
  start(what: DockerPart): Promise<void>;
  /** What one of them has printed since it was started. */
  log(what: DockerPart): readonly string[];
}
export interface DockerSite extends Docker, AsyncDisposable {
  readonly on: Ground;
}

const commands = {
  plugin: ["heddle", "docker-plugin"],
  // Containers go on while Docker is restarted only if a test says so.
  docker: ["dockerd", "--storage-driver", "vfs"],
} as const;
const ready = { plugin: "listens on", docker: "API listen on" } as const;

/** A ground with the plugin and Docker running, and the image loaded; bind it with `await using`. */
export async function dockerSite(
  tree: string | undefined,
  heddle: HeddleBinary,
  ...options: readonly string[]
): Promise<DockerSite> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  const docker = await dockerOn(on, ...options);
  const kept = made.move();
  return { ...docker, on, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Docker as above, on a ground that has the image in `/image.tar` and may have others beside it; it ends with the ground. */
export async function dockerOn(on: Ground, ...options: readonly string[]): Promise<Docker> {
  const running = new Map<DockerPart, GroundProcess>();
  const start: Docker["start"] = async (what) => {
    const argv = [...commands[what], ...(what === "docker" ? options : [])];
    const daemon = await on.start(argv);
    running.set(what, daemon);
    await daemon.log.line((line) => line.includes(ready[what]), patience(30_000));
  };
  const stop: Docker["stop"] = async (what, signal) => running.get(what)?.end(signal);
  await start("plugin");
  await start("docker");
  await on.exec(["docker", "load", "--input", "/image.tar"]);
  return {
    docker: async (...words) => (await on.exec(["docker", ...words], { timeoutMs: 60_000 })).stdout.trim(),
    refused: async (...words) => {
      const { code, stderr } = await on.exec(["docker", ...words], { mustSucceed: false });
      if (code === 0) throw new Error(`docker ${words.join(" ")} did not fail`);
      return stderr;
    },
    start,
    stop,
    restart: async (what, signal) => {
      await stop(what, signal);
      await start(what);
    },
    log: (what) => running.get(what)?.log.lines() ?? [],
  };
}
