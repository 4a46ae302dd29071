/**
 * Finds network configurations in a directory: lists first, then single plugins, and the plugins that stand in a
 * directory of the network's own.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { NetError } from "../errors.ts";
import { JSON_TEXT_LIMIT } from "./json.ts";
import {
  listOfPlugin,
  type NetworkList,
  parseNetworkList,
  parsePluginConf,
  type PluginConf,
} from "./list.ts";

const sysError = (call: string, on: string, e: unknown): NetError =>
  new NetError(
    "sys/call",
    { call, on, errno: e instanceof Error && "code" in e ? String(e.code) : String(e) },
    { cause: e },
  );

/** Where streams have their names: `/dev/stdin`, and what a shell puts in place of `<(…)`. */
const STREAMS = /^\/(?:dev|proc)\//;
const { O_NONBLOCK, O_RDONLY } = constants;
const CHUNK = 64 * 1024;

/**
 * The text of a file. A pipe or a device in its place would be waited for, or never end; where streams have their names,
 * somebody means it so.
 * @throws sys/call, decode/malformed if it is not a file, or too large
 */
export function readText(path: string): string {
  const isStream = STREAMS.test(path);
  try {
    const fd = openSync(path, O_RDONLY | (isStream ? 0 : O_NONBLOCK));
    try {
      if (!isStream && !fstatSync(fd).isFile())
        throw new NetError("decode/malformed", { what: path, why: "is not a file" });
      return readToLimit(fd, path);
    } finally {
      closeSync(fd);
    }
  } catch (e) {
    throw e instanceof NetError ? e : sysError("read", path, e);
  }
}

function readToLimit(fd: number, path: string): string {
  const chunks: Buffer[] = [];
  for (let length = 0; ;) {
    const chunk = Buffer.alloc(CHUNK);
    const n = readSync(fd, chunk);
    if (n === 0) return Buffer.concat(chunks).toString("utf8");
    chunks.push(chunk.subarray(0, n));
    length += n;
    if (length > JSON_TEXT_LIMIT)
      throw new NetError("decode/malformed", { what: path, why: `larger than ${JSON_TEXT_LIMIT} bytes` });
  }
}

const SINGLE = [".conf", ".json"];
const isDirectoryMissing = (e: unknown): boolean =>
  e instanceof Error && "code" in e && (e.code === "ENOENT" || e.code === "ENOTDIR");

/**
 * The files of a directory that end in one of the extensions, sorted by path. Sub-directories are passed over; a
 * directory that is not there holds nothing.
 * @throws sys/call
 */
export function configFiles(dir: string, extensions: readonly string[]): readonly string[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && extensions.includes(extname(entry.name)))
      .map((entry) => join(dir, entry.name))
      .toSorted();
  } catch (e) {
    if (isDirectoryMissing(e)) return [];
    throw sysError("readdir", dir, e);
  }
}

/** The plugins in `<dir>/<network>/*.conf`, in the order of their file names; none if that cannot be listed. */
function pluginsBeside(dir: string, network: string): readonly PluginConf[] {
  let files: readonly string[];
  try {
    files = configFiles(join(dir, network), [".conf"]);
  } catch (e) {
    if (e instanceof NetError && e.is("sys/call")) return [];
    throw e;
  }
  return files.map((file) => parsePluginConf(readText(file), file));
}

/**
 * Reads one file: a list (`.conflist`), or a single plugin (`.conf`, `.json`), which becomes a list of one.
 * @throws sys/call, decode/malformed, config/invalid, version/incompatible
 */
export function readNetworkFile(path: string): NetworkList {
  const source = readText(path);
  if (SINGLE.includes(extname(path))) return listOfPlugin(parsePluginConf(source, path), path);
  return parseNetworkList(source, path, (network) => pluginsBeside(dirname(path), network));
}

/**
 * The network of that name. Lists are read in the order of their names and come before single plugins. A file
 * that cannot be read and comes before the network is found is an error: it may be the one that is meant.
 * @throws config/not-found, and as `readNetworkFile`
 */
export function loadNetwork(dir: string, name: string): NetworkList {
  const lists = configFiles(dir, [".conflist"]);
  const singles = configFiles(dir, SINGLE);
  if (lists.length + singles.length === 0)
    throw new NetError("config/not-found", { what: "network configuration", where: dir });
  for (const file of [...lists, ...singles]) {
    const network = named(file);
    if (network.name === name) return network;
  }
  throw new NetError("config/not-found", {
    what: `network configuration with the name "${name}"`,
    where: dir,
  });
}

// Says which file is meant when the complaint itself does not.
function named(file: string): NetworkList {
  try {
    return readNetworkFile(file);
  } catch (e) {
    if (!(e instanceof NetError && e.is("config/invalid"))) throw e;
    const why = `${e.detail.why} (in ${basename(file)})`;
    throw new NetError("config/invalid", { field: e.detail.field, why }, { cause: e });
  }
}
