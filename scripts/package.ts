/**
 * `npm run package`: what operators install, in `dist/packages`: a package of Debian, an archive, and an OCI image
 * layout, for this machine, or with `--all` for every one. The same sources give the same bytes.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "./build.ts";
import { deb } from "./package/deb.ts";
import { imageLayout } from "./package/image.ts";
import { ownTarget, type Target, targets } from "./package/targets.ts";
import { tar } from "./package/tar.ts";
import { installation } from "./package/tree.ts";
import { inProject } from "./paths.ts";

export const packagesDir: string = inProject("dist/packages");

interface Manifest {
  readonly version: string;
  readonly description: string;
}

/** Writes every package of one target and returns their paths. */
export async function makePackages(target: Target): Promise<readonly string[]> {
  const { version, description } = JSON.parse(readFileSync(inProject("package.json"), "utf8")) as Manifest;
  const executable = readFileSync(await build(target.build));
  const files = installation(executable, version);
  const made: [name: string, bytes: Uint8Array][] = [
    [`heddle-${version}-${target.name}.tar.gz`, Bun.gzipSync(tar(files), { level: 6 })],
  ];
  if (target.debian !== undefined) {
    const name = target.variant === undefined ? "heddle" : `heddle-${target.variant}`;
    const others = ["heddle", "heddle-baseline"].filter((other) => other !== name);
    const about = { name, version, architecture: target.debian, description: oneLine(description) };
    made.push([`${name}_${version}_${target.debian}.deb`, deb({ ...about, conflicts: others, files })]);
  }
  if (target.libc === "glibc")
    made.push([
      `heddle-${version}-${target.name}.oci.tar`,
      await imageLayout({ executable, version, architecture: target.oci }),
    ]);
  mkdirSync(packagesDir, { recursive: true });
  return made.map(([name, bytes]) => {
    const path = join(packagesDir, name);
    writeFileSync(path, bytes);
    return path;
  });
}

/** As a package's description wants it: without a full stop, and not too long for a list. */
const oneLine = (description: string): string =>
  (description.split(":")[0] ?? description).replace(/\.$/, "");

if (import.meta.main) {
  const wanted = process.argv.includes("--all") ? targets : [ownTarget()];
  for (const target of wanted)
    for (const path of await makePackages(target)) {
      const megabytes = (Bun.file(path).size / 1e6).toFixed(0);
      console.log(`${path.slice(inProject("").length)}  ${megabytes} MB`);
    }
}
