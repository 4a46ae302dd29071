/**
 * The Bun of another platform, which a cross build puts the program into. It is taken from the npm registry, in the
 * version of the project's own Bun, checked against a hash, and kept in the cache.
 */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDir, inProject } from "./paths.ts";
import { command } from "./command.ts";

interface BunPackage {
  readonly name: string;
  readonly file: "bin/bun" | "bin/bun.exe";
  /** Of the pinned version, for packages that the lock file does not have because the package `bun` does not name them. */
  readonly integrity?: string;
}
const linux = (name: string, integrity?: string): BunPackage => ({
  name: `@oven/bun-linux-${name}`,
  file: "bin/bun",
  ...(integrity === undefined ? {} : { integrity }),
});
/** `baseline` runs on processors without AVX2. */
const packages = {
  "bun-linux-x64": linux("x64"),
  "bun-linux-x64-baseline": linux(
    "x64-baseline",
    "sha512-s8yMwYcFnnrA178gji0gZbkE2WVDej/Ti1x770oPfihxyRxSMNhGhiAQNXV53aDeraZxksdvKV/RAdQBCd0qPA==",
  ),
  "bun-linux-x64-musl": linux("x64-musl"),
  "bun-linux-x64-baseline-musl": linux(
    "x64-musl-baseline",
    "sha512-cWJhU8h0+MiUgpSt99sQhjxLIIosKEcKYdtKddohokUvAuN6jKOy7g7+QDTZTXtwHxz93wL3BX+L6wXVPDUH3A==",
  ),
  "bun-linux-arm64": linux("aarch64"),
  "bun-linux-arm64-musl": linux("aarch64-musl"),
  "bun-windows-x64": { name: "@oven/bun-windows-x64", file: "bin/bun.exe" },
} as const satisfies Record<string, BunPackage>;
export type CrossTarget = keyof typeof packages;

interface LockFile {
  readonly packages: Readonly<
    Record<string, { readonly version?: string; readonly integrity?: string } | undefined>
  >;
}

/**
 * The path of the target's Bun executable.
 * @throws if the registry does not have it, or has something else than was recorded
 */
export async function bunFor(target: CrossTarget): Promise<string> {
  const { name, file, integrity }: BunPackage = packages[target];
  const lock = JSON.parse(readFileSync(inProject("package-lock.json"), "utf8")) as LockFile;
  const version = lock.packages["node_modules/bun"]?.version;
  const wanted = integrity ?? lock.packages[`node_modules/${name}`]?.integrity;
  if (version === undefined || wanted === undefined)
    throw new Error(`package-lock.json does not name bun and ${name}`);
  const cache = cacheDir("bun");
  const ready = join(cache, `${target}-${version}${file.endsWith(".exe") ? ".exe" : ""}`);
  if (existsSync(ready)) return ready;
  const unpacked = join(cache, `unpacking-${process.pid}`);
  try {
    await command(["mkdir", "-p", unpacked]);
    const npm = ["npm", "pack", "--silent", "--pack-destination", unpacked, `${name}@${version}`];
    const archive = join(unpacked, (await command(npm)).trim().split("\n").at(-1) ?? "");
    const hash = createHash("sha512").update(readFileSync(archive)).digest("base64");
    if (wanted !== `sha512-${hash}`)
      throw new Error(`${name}@${version} of the registry is not what the project recorded`);
    await command(["tar", "-xzf", archive, "-C", unpacked, `package/${file}`]);
    chmodSync(join(unpacked, "package", file), 0o755);
    renameSync(join(unpacked, "package", file), ready);
  } finally {
    rmSync(unpacked, { recursive: true, force: true });
  }
  return ready;
}
