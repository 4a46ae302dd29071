/**
 * What the runtime remembers of each attachment between ADD and DEL: the list, the arguments and the result, one
 * JSON file each, in the place and form of the reference runtime, so that either can detach what the other
 * attached. Files are renamed into place, not synced: no container outlives a power loss.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NetError } from "../errors.ts";
import { requireTrusted } from "../netstate/trusted-dir.ts";
import { type NetnsId, netnsId, sameNetns } from "./host.ts";
import { anyObject, decodeAs, isObject, type JsonObject, list, object, parseJson, text } from "./json.ts";
import { checkContainerId, checkIfName, checkNetworkName } from "./validate.ts";

export const DEFAULT_CACHE_DIR = "/var/lib/cni";
const KIND = "cniCacheV1";

export interface CacheKey {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

export interface CacheEntry {
  /** Absent in files of runtimes from before the key stood inside. */
  readonly key?: CacheKey;
  /** The list as text. */
  readonly config?: string;
  readonly netns?: string;
  /** The namespace's identity at ADD; a path may come to mean another namespace. Only our own files have it. */
  readonly netnsId?: NetnsId;
  readonly args?: readonly (readonly [string, string])[];
  readonly capabilityArgs?: JsonObject;
  /** The result as it was printed, in its own version. */
  readonly result?: JsonObject;
}

/** What is known of an attachment: nothing, an entry, or a file that cannot be understood. */
export type Cached =
  | { readonly kind: "none" }
  | { readonly kind: "entry"; readonly file: string; readonly entry: CacheEntry }
  | { readonly kind: "broken"; readonly file: string; readonly error: NetError };

/** @throws env/invalid if others can write there: what is remembered decides what runs at DEL. */
function resultsDir(cacheDir: string): string {
  const dir = join(cacheDir, "results");
  requireTrusted(dir, "--cache-dir");
  return dir;
}

const hashOf = (parts: readonly string[]): string =>
  new Bun.CryptoHasher("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12);

/**
 * The names that an attachment's file may have. The first is the reference's; since '-' may stand inside each
 * part, two keys can share it, and the second to come takes the other name.
 */
function fileNames({ network, containerId, ifname }: CacheKey): readonly [string, string] {
  checkNetworkName(network);
  checkContainerId(containerId);
  checkIfName(ifname);
  const name = `${network}-${containerId}-${ifname}`;
  return [name, `${name}@${hashOf([network, containerId, ifname])}`];
}

const sameKey = (a: CacheKey, b: CacheKey): boolean =>
  a.network === b.network && a.containerId === b.containerId && a.ifname === b.ifname;

const errnoOf = (e: unknown): string => (e instanceof Error && "code" in e ? String(e.code) : String(e));

const fileShape = object({
  kind: text,
  containerId: text,
  config: text,
  ifName: text,
  networkName: text,
  netns: text,
  netnsDevice: text,
  netnsInode: text,
  netnsChanged: text,
  cniArgs: list(list(text)),
  capabilityArgs: anyObject,
  result: anyObject,
});

function decodeEntry(source: string, file: string): CacheEntry {
  const raw = parseJson(source, file);
  if (!isObject(raw)) throw new NetError("decode/malformed", { what: file, why: "must be an object" });
  const f = decodeAs(file, fileShape, raw["kind"] === KIND ? raw : { result: raw });
  const { containerId, ifName: ifname, networkName: network } = f;
  const known = containerId !== undefined && ifname !== undefined && network !== undefined;
  const identity = decodeNetnsId(f.netnsDevice, f.netnsInode, f.netnsChanged);
  return {
    ...(known ? { key: { network, containerId, ifname } } : {}),
    ...(f.config === undefined ? {} : { config: Buffer.from(f.config, "base64").toString("utf8") }),
    ...(f.netns === undefined || f.netns === "" ? {} : { netns: f.netns }),
    ...(identity ? { netnsId: identity } : {}),
    ...(f.cniArgs === undefined ? {} : { args: f.cniArgs.map(([k = "", v = ""]) => [k, v] as const) }),
    ...(f.capabilityArgs === undefined ? {} : { capabilityArgs: f.capabilityArgs }),
    ...(f.result === undefined ? {} : { result: f.result }),
  };
}

// Numbers as text: JSON's do not hold 64 bits.
function decodeNetnsId(
  dev: string | undefined,
  ino: string | undefined,
  changed: string | undefined,
): NetnsId | undefined {
  const [d, i, c] = [dev, ino, changed].map((s) =>
    s !== undefined && /^\d{1,20}$/.test(s) ? BigInt(s) : undefined,
  );
  if (d === undefined || i === undefined) return undefined;
  return c === undefined ? { dev: d, ino: i } : { dev: d, ino: i, changedNs: c };
}

function encodeEntry(key: CacheKey, entry: Omit<CacheEntry, "key">): string {
  const { config, netns, netnsId: identity, args, capabilityArgs, result } = entry;
  return JSON.stringify({
    kind: KIND,
    containerId: key.containerId,
    config: Buffer.from(config ?? "").toString("base64"),
    ifName: key.ifname,
    networkName: key.network,
    netns: netns === "" ? undefined : netns,
    netnsDevice: identity?.dev.toString(),
    netnsInode: identity?.ino.toString(),
    netnsChanged: identity?.changedNs?.toString(),
    cniArgs: args?.length === 0 ? undefined : args,
    capabilityArgs: capabilityArgs && Object.keys(capabilityArgs).length > 0 ? capabilityArgs : undefined,
    result,
  });
}

function readFile(file: string): Cached {
  let source: string;
  try {
    source = readFileSync(file, "utf8");
  } catch {
    return { kind: "none" };
  }
  try {
    return { kind: "entry", file, entry: decodeEntry(source, file) };
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    return { kind: "broken", file, error: e };
  }
}

/** True if the file belongs to another attachment whose parts happen to join to the same name. */
const isForeign = (cached: Cached, key: CacheKey): boolean =>
  cached.kind === "entry" && cached.entry.key !== undefined && !sameKey(cached.entry.key, key);

/**
 * What is remembered of the attachment. A file that is not there or cannot be opened is nothing.
 * @throws as the checks of the three names
 */
export function readCache(cacheDir: string, key: CacheKey): Cached {
  for (const name of fileNames(key)) {
    const cached = readFile(join(resultsDir(cacheDir), name));
    if (cached.kind !== "none" && !isForeign(cached, key)) return cached;
  }
  return { kind: "none" };
}

function unlinkQuietly(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // never written, or gone with its directory
  }
}

/**
 * Where an entry is written before it gets its name; of a process that was killed there, the next one of the same key
 * finds it. A leading dot: no attachment's file begins with one, so that a left-over is never taken for an entry.
 */
const draftOf = ({ network, containerId, ifname }: CacheKey): string =>
  `${draftsOf(network)}${hashOf([network, containerId, ifname])}.tmp`;
const draftsOf = (network: string): string => `.${hashOf([network])}-`;

/**
 * Remembers the attachment.
 * @throws sys/call
 */
export function writeCache(cacheDir: string, key: CacheKey, entry: Omit<CacheEntry, "key">): void {
  const dir = resultsDir(cacheDir);
  const [usual, other] = fileNames(key);
  const name = isForeign(readFile(join(dir, usual)), key) ? other : usual;
  const temporary = join(dir, draftOf(key));
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writeFileSync(temporary, encodeEntry(key, entry), { mode: 0o600 });
    renameSync(temporary, join(dir, name));
  } catch (e) {
    unlinkQuietly(temporary);
    throw new NetError("sys/call", { call: "write", on: join(dir, name), errno: errnoOf(e) }, { cause: e });
  }
}

/**
 * Forgets the attachment, broken files of its name included. What is not there is forgotten already.
 * @throws sys/call
 */
export function removeCache(cacheDir: string, key: CacheKey): void {
  unlinkQuietly(join(resultsDir(cacheDir), draftOf(key)));
  for (const name of fileNames(key)) {
    const file = join(resultsDir(cacheDir), name);
    const cached = readFile(file);
    if (cached.kind === "none" || isForeign(cached, key)) continue;
    try {
      unlinkSync(file);
    } catch (e) {
      if (errnoOf(e) !== "ENOENT")
        throw new NetError("sys/call", { call: "unlink", on: file, errno: errnoOf(e) }, { cause: e });
    }
  }
}

/** Removes what killed processes were about to remember of the network. Nobody else may be writing for it. */
export function removeDrafts(cacheDir: string, network: string): void {
  const dir = resultsDir(cacheDir);
  let names: readonly string[];
  try {
    names = readdirSync(dir);
  } catch {
    return; // Nothing was ever remembered.
  }
  for (const name of names) if (name.startsWith(draftsOf(network))) unlinkQuietly(join(dir, name));
}

export interface CachedAttachment extends CacheEntry {
  readonly key: CacheKey;
  readonly file: string;
}

/**
 * Every attachment that is remembered with its key, in the order of file names; of one container if `containerId`
 * is given. Files that cannot be understood are passed over; a directory that is not there holds none.
 * @throws sys/call if the directory is there and cannot be listed
 */
export function listCache(cacheDir: string, containerId?: string): readonly CachedAttachment[] {
  const dir = resultsDir(cacheDir);
  let names: readonly string[];
  try {
    names = readdirSync(dir);
  } catch (e) {
    if (errnoOf(e) === "ENOENT") return [];
    throw new NetError("sys/call", { call: "readdir", on: dir, errno: errnoOf(e) }, { cause: e });
  }
  return names
    .filter(
      (name) => !name.startsWith(".") && (containerId === undefined || name.includes(`-${containerId}-`)),
    )
    .toSorted()
    .flatMap((name) => {
      const cached = readFile(join(dir, name));
      if (cached.kind !== "entry" || cached.entry.key === undefined) return [];
      const { key } = cached.entry;
      return containerId === undefined || key.containerId === containerId
        ? [{ ...cached.entry, key, file: cached.file }]
        : [];
    });
}

/** The path of the entry's namespace, unless that is gone or means another namespace by now. */
export function liveNetns(entry: CacheEntry): string | undefined {
  if (entry.netns === undefined) return undefined;
  const now = netnsId(entry.netns);
  if (now === undefined) return undefined;
  return entry.netnsId === undefined || sameNetns(entry.netnsId, now) ? entry.netns : undefined;
}
