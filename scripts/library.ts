/**
 * Makes the package that others install: `dist/package` with the library (JavaScript and types, from the sources that
 * `tsconfig.package.json` names), its pages, which are made of the doc comments, and `dist/heddle-VERSION.tgz`, the same
 * as one file.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./command.ts";
import { inProject } from "./paths.ts";

export const packageDir: string = inProject("dist/package");
const entries = ["cni", "netlink", "nftables"] as const;

interface Manifest {
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** What the package says of itself. Nothing is installed with it: the command line's dependency stays out. */
function manifest({ version, description, license, devDependencies }: Manifest): object {
  const exported = entries.map((name) => [
    `./${name}`,
    { types: `./lib/package/${name}.d.ts`, default: `./lib/package/${name}.js` },
  ]);
  return {
    name: "heddle",
    version,
    description,
    license,
    keywords: ["cni", "netlink", "nftables", "containers", "network"],
    type: "module",
    exports: { ...Object.fromEntries(exported), "./package.json": "./package.json" },
    files: ["lib", "docs"],
    // Loading it is what forbids the process to enter a namespace.
    sideEffects: ["./lib/package/cni.js"],
    engines: { bun: `>=${devDependencies["bun"] ?? ""}` },
  };
}

/** Makes the package anew and returns the path of the archive. @throws if a source has an error */
export async function makeLibrary(): Promise<string> {
  const own = JSON.parse(readFileSync(inProject("package.json"), "utf8")) as Manifest;
  rmSync(packageDir, { recursive: true, force: true });
  await command([inProject("node_modules/.bin/tsc"), "-p", inProject("tsconfig.package.json")]);
  // A type that the library's users meet and cannot import is an error.
  await command([
    ...[inProject("scripts/api-pages/node_modules/.bin/typedoc"), "--options"],
    inProject("scripts/api-pages/typedoc.json"),
  ]);
  writeFileSync(join(packageDir, "package.json"), `${JSON.stringify(manifest(own), undefined, 2)}\n`);
  cpSync(inProject("LICENSE"), join(packageDir, "LICENSE"));
  cpSync(inProject("docs/library.md"), join(packageDir, "README.md"));
  const archive = inProject(`dist/heddle-${own.version}.tgz`);
  await command([...["npm", "pack", "--silent", "--pack-destination", inProject("dist"), packageDir]]);
  return archive;
}

if (import.meta.main) console.log(await makeLibrary());
