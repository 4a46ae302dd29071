/**
 * The Bun of another platform, which a cross build puts the program into. It is taken from the npm registry as the
 * package that the lock file names, checked against the lock file's hash, and kept in the cache.
 */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, inProject } from "./paths.ts";
import { command } from "./command.ts";

const packages = {
  "bun-linux-arm64": { name: "@oven/bun-linux-aarch64", file: "bin/bun" },
  "bun-windows-x64": { name: "@oven/bun-windows-x64", file: "bin/bun.exe" },
} as const;
export type CrossTarget = keyof typeof packages;

interface LockFile {
  readonly packages: Readonly<
    Record<string, { readonly version?: string; readonly integrity?: string } | undefined>
  >;
}

/**
 * The path of the target's Bun executable.
 * @throws if the registry does not have it, or has something else than the lock file says
 */
export async function bunFor(target: CrossTarget): Promise<string> {
  const { name, file } = packages[target];
  const lock = JSON.parse(readFileSync(inProject("package-lock.json"), "utf8")) as LockFile;
  const entry = lock.packages[`node_modules/${name}`];
  if (entry?.version === undefined || entry.integrity === undefined)
    throw new Error(`package-lock.json does not name ${name}`);
  const cache = cacheDir("bun");
  const ready = join(cache, `${target}-${entry.version}${file.endsWith(".exe") ? ".exe" : ""}`);
  if (existsSync(ready)) return ready;
  const unpacked = join(cache, `unpacking-${process.pid}`);
  try {
    await command(["mkdir", "-p", unpacked]);
    const npm = ["npm", "pack", "--silent", "--pack-destination", unpacked, `${name}@${entry.version}`];
    const archive = join(unpacked, (await command(npm)).trim().split("\n").at(-1) ?? "");
    const hash = createHash("sha512").update(readFileSync(archive)).digest("base64");
    if (entry.integrity !== `sha512-${hash}`)
      throw new Error(`${name}@${entry.version} of the registry is not what package-lock.json recorded`);
    await command(["tar", "-xzf", archive, "-C", unpacked, `package/${file}`]);
    chmodSync(join(unpacked, "package", file), 0o755);
    renameSync(join(unpacked, "package", file), ready);
  } finally {
    rmSync(unpacked, { recursive: true, force: true });
  }
  return ready;
}
