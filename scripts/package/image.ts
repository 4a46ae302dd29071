/**
 * The image that puts Heddle onto a node (`install-cni` init containers): the executable, the C library that it needs, and
 * nothing else. Its command installs into `/host/opt/cni/bin`. Whoever copies `/opt/cni/bin` instead, with links
 * followed, gets one executable and small files: the kernel starts it for each of them (execve(2), "Interpreter scripts").
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PLUGIN_STUB } from "../../src/cli/install-files.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { unpackDebian } from "../debian.ts";
import { cacheDir, inProject } from "../paths.ts";
import { imageArchive } from "./oci.ts";
import type { TarEntry } from "./tar.ts";
import { withDirectories } from "./tree.ts";

export interface NodeImage {
  readonly executable: Uint8Array;
  readonly version: string;
  readonly architecture: "amd64" | "arm64";
}

/** What the executable is linked against, where each machine keeps it. */
const libraries = {
  amd64: { dir: "lib/x86_64-linux-gnu", loader: "lib64/ld-linux-x86-64.so.2" },
  arm64: { dir: "lib/aarch64-linux-gnu", loader: "lib/ld-linux-aarch64.so.1" },
} as const;
const LIBRARIES = ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"];

async function libraryFiles(architecture: NodeImage["architecture"]): Promise<readonly TarEntry[]> {
  const root = join(cacheDir("debian"), `libc6-${architecture}`);
  const name = `libc6:${architecture}`;
  await unpackDebian(root, "bookworm", (apt) => apt.download([name]), undefined, architecture);
  const { dir, loader } = libraries[architecture];
  return [
    {
      path: loader,
      bytes: readFileSync(join(root, dir, loader.slice(loader.lastIndexOf("/") + 1))),
      mode: 0o755,
    },
    ...LIBRARIES.map((file) => ({
      path: `${dir}/${file}`,
      bytes: readFileSync(join(root, dir, file)),
      mode: 0o755,
    })),
    {
      path: "usr/share/doc/libc6/copyright",
      bytes: readFileSync(join(root, "usr/share/doc/libc6/copyright")),
    },
  ];
}

/** The image as one archive. @throws if Debian's C library cannot be fetched */
export async function imageLayout({ executable, version, architecture }: NodeImage): Promise<Uint8Array> {
  const files = withDirectories([
    { path: "opt/cni/bin/heddle", bytes: executable, mode: 0o755 },
    ...pluginTypes.map((type) => ({ path: `opt/cni/bin/${type}`, bytes: PLUGIN_STUB, mode: 0o755 })),
    ...(await libraryFiles(architecture)),
    { path: "usr/share/doc/heddle/copyright", bytes: readFileSync(inProject("LICENSE")) },
  ]);
  return imageArchive({
    name: `heddle.invalid/heddle:${version}`,
    architecture,
    files,
    config: {
      Entrypoint: ["/opt/cni/bin/heddle"],
      Cmd: ["install", "--cni-bin-dir", "/host/opt/cni/bin"],
      WorkingDir: "/",
    },
    by: "heddle",
  });
}
