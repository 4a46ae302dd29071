/** Writes the files of a new project into a folder that was not there. */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errnoOf } from "../../sys/files.ts";
import { NetError } from "../../errors.ts";
import { isPluginType } from "../../plugins/registry.ts";
import { filesOf, type NewPlugin } from "./files.ts";

/** What is a name of a file, of a package and of a plugin, and fits into each. */
const NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;
const LONGEST = 32;

/** What the caller says: `library` is a path, from the working directory. */
type Wanted = Omit<NewPlugin, "library"> & { readonly library: string | undefined };

/**
 * Makes the folder of that name in the working directory and returns what to do next.
 * @throws usage/invalid, resource/exists, sys/call
 */
export function writeProject(wanted: Wanted): string {
  const { name } = wanted;
  if (!NAME.test(name) || name.length > LONGEST)
    throw new NetError("usage/invalid", {
      why: `"${name}" cannot be a plugin's name: small letters and digits with single - between, at most ${LONGEST}`,
    });
  if (isPluginType(name) || name === "heddle" || name === "cnitool")
    throw new NetError("usage/invalid", { why: `"${name}" is one of Heddle's own names; choose another` });
  const plugin = { ...wanted, library: libraryAt(wanted.library) };
  try {
    mkdirSync(name);
  } catch (e) {
    if (errnoOf(e) === "EEXIST")
      throw new NetError("resource/exists", { what: `the folder ${name}`, where: "this directory" });
    throw e;
  }
  for (const [path, text] of Object.entries(filesOf(plugin))) {
    mkdirSync(dirname(join(name, path)), { recursive: true });
    writeFileSync(join(name, path), text);
  }
  return `${name}/src/plugin.ts is the plugin. Next: cd ${name} && bun install && bun test && bun run build`;
}

/**
 * Never a name for a registry to look up: in the public one "heddle" is anybody's to take, and what is fetched runs as root.
 */
function libraryAt(path: string | undefined): string {
  const advice = "heddle-VERSION.tgz, which `npm run build:library` makes in a checkout of Heddle";
  if (path === undefined)
    throw new NetError("usage/invalid", { why: `--library has to say where the library is: ${advice}` });
  const file = resolve(path.replace(/^file:/, ""));
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true)
    throw new NetError("usage/invalid", { why: `--library: ${file} is no file; it wants ${advice}` });
  return file;
}
