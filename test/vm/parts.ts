/**
 * What a virtual machine is made of: an emulator and a kernel with its modules, from Debian's packages in the project's
 * cache. Nothing is installed.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "../../scripts/command.ts";
import { type Suite, unpackDebian } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";

/** Kernels that a guest can have, each with the Debian release whose kernel it is. */
const kernels = { "6.1": "bookworm", "6.12": "trixie" } as const satisfies Record<string, Suite>;
export type KernelVersion = keyof typeof kernels;
export const kernelVersions = Object.keys(kernels) as readonly KernelVersion[];

/** The small variant of Debian's kernel, without drivers for real hardware. */
const KERNEL_PACKAGE = "linux-image-cloud-amd64";

export interface Emulator {
  readonly qemu: string;
  readonly virtiofsd: string;
  /** A static busybox: the only program of the guest before it has the host's. */
  readonly busybox: string;
  /** Where QEMU finds its firmware. */
  readonly firmware: readonly string[];
  /** Environment with which the unpacked programs find their libraries. */
  readonly env: Readonly<Record<string, string>>;
}

export interface Kernel {
  readonly image: string;
  /** The directory of its modules, indexed by depmod. */
  readonly modules: string;
}

/** @throws if the packages cannot be had */
export async function emulator(): Promise<Emulator> {
  const root = join(cacheDir("vm"), "emulator");
  await unpackDebian(root, "this machine's", async (apt) => {
    // A package of its own since Debian 13.
    const files = (await apt.has("virtiofsd")) ? ["virtiofsd"] : [];
    await apt.downloadWithMissing(["qemu-system-x86", "busybox-static", ...files]);
  });
  const trees = [root, "/"];
  const libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map((dir) => join(root, dir));
  return {
    qemu: firstOf(trees, ["usr/bin/qemu-system-x86_64"]),
    virtiofsd: firstOf(trees, ["usr/lib/qemu/virtiofsd", "usr/libexec/virtiofsd"]),
    busybox: firstOf(trees, ["bin/busybox", "usr/bin/busybox"]),
    firmware: trees
      .flatMap((tree) => ["usr/share/qemu", "usr/share/seabios"].map((dir) => join(tree, dir)))
      .filter((path) => existsSync(path)),
    env: { LD_LIBRARY_PATH: libraries.join(":"), PATH: process.env["PATH"] ?? "" },
  };
}

/** @throws if the package cannot be had */
export async function kernel(version: KernelVersion): Promise<Kernel> {
  const { busybox } = await emulator();
  const root = join(cacheDir("vm"), `linux-${version}`);
  await unpackDebian(
    root,
    kernels[version],
    async (apt) => {
      const images = await apt.dependencies(KERNEL_PACKAGE);
      await apt.download(images.filter((name) => name.startsWith("linux-image-")));
    },
    async (tree) => {
      const base = libraryBase(tree);
      const packed = [...new Bun.Glob("lib/modules/**/*.ko.xz").scanSync({ cwd: base, absolute: true })];
      if (packed.length > 0) await command([busybox, "unxz", ...packed]); // Its modprobe reads plain ones only.
      await command([busybox, "depmod", "-b", base, onlyEntry(join(base, "lib/modules"))]);
    },
  );
  const all = join(libraryBase(root), "lib/modules");
  const release = onlyEntry(all);
  return { image: join(root, `boot/vmlinuz-${release}`), modules: join(all, release) };
}

/** The directory that has `lib/modules`: the root itself up to Debian 12, `usr` later. */
const libraryBase = (tree: string): string =>
  existsSync(join(tree, "lib/modules")) ? tree : join(tree, "usr");

/** Paths below `modules` of these modules and what they need, each after what it needs; built-in ones are left out. */
export function modulesInOrder(modules: string, names: readonly string[]): readonly string[] {
  const lines = readFileSync(join(modules, "modules.dep"), "utf8").trimEnd().split("\n");
  const needs = new Map(
    lines.map((line) => {
      const [path = "", rest = ""] = line.split(":");
      return [path, rest.split(" ").filter((word) => word !== "")];
    }),
  );
  const pathOf = new Map([...needs.keys()].map((path) => [nameOf(path), path]));
  const order = new Set<string>();
  const visit = (path: string): void => {
    if (order.has(path)) return;
    for (const need of needs.get(path) ?? []) visit(need);
    order.add(path);
  };
  for (const name of names) {
    const path = pathOf.get(name);
    if (path !== undefined) visit(path);
  }
  return [...order];
}

const nameOf = (path: string): string =>
  (path.split("/").at(-1) ?? "").replace(/\.ko$/, "").replaceAll("-", "_");

function onlyEntry(dir: string): string {
  const [entry, ...more] = readdirSync(dir);
  if (entry === undefined || more.length > 0) throw new Error(`${dir} has not exactly one entry`);
  return entry;
}

function firstOf(trees: readonly string[], paths: readonly string[]): string {
  const found = trees
    .flatMap((tree) => paths.map((path) => join(tree, path)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`the packages of this release have no ${paths.join(" or ")}`);
  return found;
}
