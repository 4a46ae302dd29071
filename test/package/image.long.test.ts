/**
 * The image that puts Heddle onto a node: what is in it runs in it, with nothing else there, and installs into the node's
 * directory; and a copy of its directory with links followed is one executable and small files that work.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { ensureBuilt } from "../../scripts/build.ts";
import { imageLayout } from "../../scripts/package/image.ts";
import { ownTarget } from "../../scripts/package/targets.ts";
import { placesFor } from "../../src/cli/install-places.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { testWith } from "../../src/testing/needs.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { type TempDir, tempDir } from "../../src/testing/temp-dir.ts";

const LIMIT_MS = 180_000;
const rootTest = testWith({ root: true, programs: ["apt-get", "dpkg", "tar", "chroot", "unshare"] });

interface Described {
  readonly digest: string;
}
let dir: TempDir;
let config: { readonly Entrypoint: readonly string[]; readonly Cmd: readonly string[] };

beforeAll(async () => {
  dir = tempDir("image");
  const executable = readFileSync(await ensureBuilt());
  const architecture = ownTarget().oci;
  writeFileSync(dir.in("image.tar"), await imageLayout({ executable, version: "0.1.0", architecture }));
  for (const name of ["layout", "root", "node"]) mkdirSync(dir.in(name));
  await run(["tar", "-xf", dir.in("image.tar"), "-C", dir.in("layout")]);
  const blob = (d: Described | undefined): string =>
    dir.in("layout", "blobs", (d?.digest ?? "").replace(":", "/"));
  const read = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));
  const index = read(dir.in("layout/index.json")) as { readonly manifests: readonly Described[] };
  const manifest = read(blob(index.manifests[0])) as {
    readonly config: Described;
    readonly layers: readonly Described[];
  };
  ({ config } = read(blob(manifest.config)) as { readonly config: typeof config });
  await run(["tar", "-xf", blob(manifest.layers[0]), "-C", dir.in("root")]);
  mkdirSync(dir.in("root/proc"));
}, LIMIT_MS);
afterAll(() => dir[Symbol.dispose]());

/** With `/proc`, as every runtime mounts it. */
const inImage = (argv: readonly string[], stdin = "", env: Readonly<Record<string, string>> = {}) =>
  run(
    [
      ...[
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        `--mount-proc=${dir.in("root/proc")}`,
        "--",
      ],
      ...["chroot", dir.in("root"), ...argv],
    ],
    { env: { ...plainEnv, ...env }, stdin },
  );

describe("the image", () => {
  rootTest(
    "installs every plugin into the node's directory with the command that it has",
    async () => {
      mkdirSync(dir.in("root/host/opt/cni/bin"), { recursive: true });
      await inImage([...config.Entrypoint, ...config.Cmd]);
      const { links, stubs } = placesFor("/host/opt/cni/bin");
      for (const type of links) expect(readlinkSync(dir.in("root/host/opt/cni/bin", type))).toBe("heddle");
      for (const type of stubs)
        expect(statSync(dir.in("root/host/opt/cni/bin", type)).size).toBeLessThan(100);
      const { stdout } = await run([dir.in("root/host/opt/cni/bin/heddle"), "version"]);
      expect(stdout).toContain("heddle");
    },
    LIMIT_MS,
  );

  rootTest(
    "copied with links followed is one executable and small files",
    async () => {
      await run(["cp", "--recursive", "--dereference", dir.in("root/opt/cni/bin"), dir.in("node")]);
      const sizes = pluginTypes.map((type) => statSync(dir.in("node/bin", type)).size);
      expect(Math.max(...sizes)).toBeLessThan(100);
    },
    LIMIT_MS,
  );

  rootTest.each(["bridge", "host-local", "loopback"])(
    "runs %s by its small file",
    async (type) => {
      const { stdout } = await inImage([`/opt/cni/bin/${type}`], '{"cniVersion":"1.0.0"}', {
        CNI_COMMAND: "VERSION",
      });
      expect(JSON.parse(stdout)).toMatchObject({
        supportedVersions: expect.arrayContaining(["1.1.0"]) as string[],
      });
    },
    LIMIT_MS,
  );
});
