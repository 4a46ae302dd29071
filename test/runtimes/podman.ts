/** Podman 4 on a ground, as Debian 12 packages it, set up for Heddle by the steps of `docs/runtimes.md`. */
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { plainEnv, type Outcome } from "../../src/testing/run.ts";
import { type Ground, ground } from "./ground.ts";
import { busyboxImage } from "./image.ts";
import { follow } from "./manual.ts";
import { rootTree } from "./root-tree.ts";

/** The tree; undefined after printing why it cannot be had. */
export const podmanTree = (): Promise<string | undefined> =>
  rootTree("podman-4", "bookworm", ["podman", "crun"]);

/** What only the tests need: neither systemd nor its journal is there, and layers are copied. */
const ENGINE = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n';
const STORAGE =
  '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n';
const POLICY = '{ "default": [{ "type": "insecureAcceptAnything" }] }\n';

/** Runs `podman` with these words; a failure throws. */
export type Podman = (...words: readonly string[]) => Promise<Outcome>;

export interface PodmanSite extends AsyncDisposable {
  readonly on: Ground;
  readonly podman: Podman;
}

/** A ground with the image loaded; bind it with `await using`. */
export async function podmanSite(tree: string | undefined, heddle: HeddleBinary): Promise<PodmanSite> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  const podman = await podmanOn(on);
  const kept = made.move();
  return { on, podman, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Podman as above, on a ground that has the image in `/image.tar` and may have others beside it. */
export async function podmanOn(on: Ground): Promise<Podman> {
  await follow(on, "Podman 4", (content) => content + ENGINE);
  on.write("/etc/containers/storage.conf", STORAGE);
  on.write("/etc/containers/policy.json", POLICY);
  const podman: Podman = (...words) =>
    on.exec(["podman", ...words], { env: { ...plainEnv, HOME: "/root" }, timeoutMs: 60_000 });
  await podman("load", "--input", "/image.tar");
  return podman;
}
