/**
 * The runtime: attaches, checks and detaches containers by running the plugins of a list, and remembers between
 * the two. Everything is decided here that concerns more than one plugin: order, previous results, rollback, the
 * cache, garbage.
 *
 * One network's GC must not run beside another operation on it; the caller sees to that, as the specification asks.
 */
import { NetError } from "../errors.ts";
import { joinCniArgs } from "./args.ts";
import {
  type CacheEntry,
  type CacheKey,
  DEFAULT_CACHE_DIR,
  listCache,
  liveNetns,
  readCache,
  removeCache,
  removeDrafts,
  writeCache,
} from "./cache.ts";
import { errorText } from "./errors.ts";
import { type Env, type Host, netnsId, sameFile, sameNetns } from "./host.ts";
import { findOrOwn, invoke, pluginVersions, splitPath } from "./invoke.ts";
import type { JsonObject } from "./json.ts";
import {
  capabilitiesOf,
  CHAIN_TYPE,
  type NetworkList,
  parseNetworkList,
  requestText,
  unpacked,
} from "./list.ts";
import type { AttachmentKey } from "./plugin.ts";
import { decodeResult, encodeResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import {
  addAll,
  attempting,
  delAll,
  gcAll,
  hasInterface,
  runEach,
  type Sequence,
  throwAll,
} from "./sequence.ts";
import { checkContainerId, checkIfName, checkNetworkName } from "./validate.ts";
import { atLeast, knownVersion, newestVersion, type Version, versions } from "./version.ts";

/** What the runtime works with. */
export interface Runtime {
  readonly host: Host;
  /** `CNI_PATH`. */
  readonly path: string;
  /** The variables that plugins inherit; those of a call are put over them. */
  readonly env: Env;
  /** Default: `/var/lib/cni`. */
  readonly cacheDir?: string;
  /** Takes what plugins write to standard error, and warnings. */
  readonly log?: (message: string) => void;
  /** Ends plugins that run as processes; what ADD has made is then taken back. */
  readonly signal?: AbortSignal;
}

/** One container on one network. */
export interface Attachment extends AttachmentKey {
  /** Absent for DEL of a container whose namespace is gone. */
  readonly netns?: string;
  /** `CNI_ARGS`. Absent for CHECK and DEL: those of ADD. */
  readonly args?: readonly (readonly [string, string])[];
  /** What becomes `runtimeConfig`. Absent for CHECK and DEL: those of ADD. */
  readonly capabilityArgs?: JsonObject;
}

export const runtimeCacheDir = (runtime: Pick<Runtime, "cacheDir">): string =>
  runtime.cacheDir ?? DEFAULT_CACHE_DIR;
const cacheKey = (network: NetworkList, { containerId, ifname }: AttachmentKey): CacheKey => ({
  network: network.name,
  containerId,
  ifname,
});

/** The plugins of a list, with all that a call to one of them needs. */
function sequenceOf(runtime: Runtime, network: NetworkList, attachment?: Attachment): Sequence {
  const env = {
    ...runtime.env,
    CNI_PATH: runtime.path,
    CNI_CONTAINERID: attachment?.containerId,
    CNI_IFNAME: attachment?.ifname,
    CNI_NETNS: attachment && (attachment.netns ?? ""),
    CNI_ARGS: attachment && joinCniArgs(attachment.args ?? []),
  };
  const capabilities = attachment?.capabilityArgs ? { capabilityArgs: attachment.capabilityArgs } : {};
  const { host, log, signal } = runtime;
  return {
    cniVersion: network.cniVersion,
    plugins: network.plugins,
    ready({ type }) {
      signal?.throwIfAborted();
      findOrOwn(type, splitPath(runtime.path), host);
    },
    run(plugin, command, { undoing = false, ...extras }) {
      const stdin = requestText(network, plugin, { ...extras, ...capabilities });
      // The signal that stopped ADD must not stop the cleaning up after it.
      const options = { ...(log ? { log } : {}), ...(signal && !undoing ? { signal } : {}) };
      return invoke({ type: plugin.type, command, env, stdin, ...options }, host);
    },
  };
}

/**
 * Attaches the container and gives the last plugin's result. When a plugin fails, every plugin that ran is
 * detached again, the failing one included, in reverse order; what fails in doing so is reported with the first
 * error in an `AggregateError`. An attachment that lives, and a list with one of our plugins twice, is refused and
 * nothing touched.
 * @throws attachment/live, config/invalid, plugin/failed, plugin/not-found, sys/call for the cache, and as the checks of names
 */
export async function addNetworkList(
  runtime: Runtime,
  network: NetworkList,
  attachment: Attachment,
): Promise<Result> {
  checkContainerId(attachment.containerId);
  checkNetworkName(network.name);
  checkIfName(attachment.ifname);
  refuseTwice(runtime, network);
  const key = cacheKey(network, attachment);
  refuseLive(runtime, key, attachment);
  const sequence = sequenceOf(runtime, network, attachment);
  return addAll(sequence, { occupied: hasInterface(attachment) }, (result) =>
    remember(runtime, network, attachment, result),
  );
}

/** What a plugin of ours makes belongs to its type: a second one in the list would find the attachment of the first alive. */
function refuseTwice({ host, path }: Runtime, network: NetworkList): void {
  const seen = new Set<string>();
  const isOurs = (type: string): boolean => {
    try {
      const found = findOrOwn(type, splitPath(path), host);
      return found === undefined || sameFile(found.id, host.self);
    } catch {
      return false; // Its own turn says what is wrong with it.
    }
  };
  for (const { type, at } of entriesOf(network)) {
    if (seen.has(type) && isOurs(type))
      throw new NetError("config/invalid", {
        field: `${at}.type`,
        why: `${type} stands in the list before, and a plugin runs once for an interface; join the two entries`,
      });
    seen.add(type);
  }
}

/** The plugins of a list and of the chains in it, with their places. A chain that cannot be read says so in its turn. */
const entriesOf = ({ plugins }: NetworkList): readonly { readonly type: string; readonly at: string }[] =>
  plugins.flatMap((p, i) => {
    const at = `plugins[${i}]`;
    if (p.type !== CHAIN_TYPE) return [{ type: p.type, at }];
    try {
      return unpacked(p, at).map(({ type }, j) => ({ type, at: `${at}.plugins[${j}]` }));
    } catch {
      return [];
    }
  });

function refuseLive(runtime: Runtime, key: CacheKey, attachment: Attachment): void {
  const cached = readCache(runtimeCacheDir(runtime), key);
  if (cached.kind !== "entry") return;
  const live = liveNetns(cached.entry);
  if (live === undefined) return;
  // The reference's file does not say which namespace the path meant; it is the same if ADD is asked for it again.
  const unsure = cached.entry.netnsId === undefined;
  if (unsure && !(attachment.netns !== undefined && sameNetns(netnsId(live), netnsId(attachment.netns))))
    return;
  throw new NetError("attachment/live", key);
}

function remember(runtime: Runtime, network: NetworkList, attachment: Attachment, result: Result): void {
  const { netns, args, capabilityArgs } = attachment;
  const id = netns === undefined ? undefined : netnsId(netns);
  writeCache(runtimeCacheDir(runtime), cacheKey(network, attachment), {
    config: network.text,
    ...(netns === undefined ? {} : { netns }),
    ...(id ? { netnsId: id } : {}),
    ...(args ? { args } : {}),
    ...(capabilityArgs ? { capabilityArgs } : {}),
    result: encodeResult(result, network.cniVersion),
  });
}

/** The arguments of ADD stand in for those that the caller does not give. */
const withCachedArgs = (attachment: Attachment, entry: CacheEntry | undefined): Attachment => ({
  ...(entry?.args ? { args: entry.args } : {}),
  ...(entry?.capabilityArgs ? { capabilityArgs: entry.capabilityArgs } : {}),
  ...attachment,
});

/**
 * Detaches the container: every plugin in reverse order, whatever fails. Only when all succeeded is the attachment
 * forgotten. A cache that cannot be read is as good as none.
 * @throws the failure, or an `AggregateError` of several
 */
export async function delNetworkList(
  runtime: Runtime,
  network: NetworkList,
  attachment: Attachment,
): Promise<void> {
  const key = cacheKey(network, attachment);
  const cached = readCache(runtimeCacheDir(runtime), key);
  const entry = cached.kind === "entry" ? cached.entry : undefined;
  let prevResult: Result | undefined;
  try {
    prevResult = entry?.result && decodeResult(entry.result, network.cniVersion);
    if (cached.kind === "broken") throw cached.error;
  } catch (e) {
    runtime.log?.(`DEL goes on without the cached result: ${errorText(e)}`);
  }
  throwAll(await delAll(sequenceOf(runtime, network, withCachedArgs(attachment, entry)), prevResult));
  removeCache(runtimeCacheDir(runtime), key);
}

/** @throws version/incompatible */
function requireVersion(verb: string, network: NetworkList, least: Version): void {
  if (!atLeast(network.cniVersion, least))
    throw new NetError("version/incompatible", {
      verb,
      wanted: network.cniVersion,
      supported: versions.filter((v) => atLeast(v, least)),
    });
}

/**
 * Asks every plugin whether the attachment is still what ADD made. Does nothing if the list disables it.
 * @throws version/incompatible below 0.4.0, decode/malformed for a broken cache, the first plugin's failure
 */
export async function checkNetworkList(
  runtime: Runtime,
  network: NetworkList,
  attachment: Attachment,
): Promise<void> {
  requireVersion("CHECK", network, "0.4.0");
  if (network.disableCheck) return;
  const cached = readCache(runtimeCacheDir(runtime), cacheKey(network, attachment));
  if (cached.kind === "broken") throw cached.error;
  const entry = cached.kind === "entry" ? cached.entry : undefined;
  const prev = entry?.result ? { prevResult: decodeResult(entry.result, network.cniVersion) } : {};
  await runEach(sequenceOf(runtime, network, withCachedArgs(attachment, entry)), "CHECK", prev);
}

/**
 * Detaches every remembered attachment of the network that is not in `valid`, each by the list that attached it,
 * then lets every plugin (1.1.0) remove what else it finds. `valid` absent: nothing is valid, and plugins are not
 * told of any list. Everything is tried before failures are reported.
 * @throws the failure, or an `AggregateError` of several
 */
export async function gcNetworkList(
  runtime: Runtime,
  network: NetworkList,
  valid?: readonly AttachmentKey[],
): Promise<void> {
  if (network.disableGC) return;
  const failures: unknown[] = [];
  const attempt = attempting(failures);
  const isValid = (key: CacheKey): boolean =>
    (valid ?? []).some((v) => v.containerId === key.containerId && v.ifname === key.ifname);
  await attempt(async () => {
    for (const entry of listCache(runtimeCacheDir(runtime)))
      if (entry.key.network === network.name && !isValid(entry.key))
        await attempt(() =>
          delNetworkList(runtime, cachedList(entry) ?? network, staleAttachment(entry.key, entry)),
        );
  });
  removeDrafts(runtimeCacheDir(runtime), network.name);
  if (atLeast(network.cniVersion, "1.1.0"))
    failures.push(...(await gcAll(sequenceOf(runtime, network), valid)));
  throwAll(failures);
}

// A path that means another namespace by now is left out: its interfaces are somebody else's.
function staleAttachment({ containerId, ifname }: AttachmentKey, entry: CacheEntry): Attachment {
  const netns = liveNetns(entry);
  return withCachedArgs({ containerId, ifname, ...(netns === undefined ? {} : { netns }) }, entry);
}

function cachedList(entry: CacheEntry): NetworkList | undefined {
  if (entry.config === undefined || entry.config === "") return undefined;
  try {
    return parseNetworkList(entry.config, "cached configuration");
  } catch {
    return undefined;
  }
}

/**
 * Asks every plugin, in order, whether it could serve ADD. Below 1.1.0 nobody is asked.
 * @throws the first failure, with the plugin's code
 */
export async function statusNetworkList(runtime: Runtime, network: NetworkList): Promise<void> {
  if (!atLeast(network.cniVersion, "1.1.0")) return;
  await runEach(sequenceOf(runtime, network), "STATUS");
}

/**
 * Looks whether every plugin is there and speaks the list's version, and gives the capabilities that they want.
 * @throws plugin/not-found, version/incompatible, config/invalid, or an `AggregateError` of several
 */
export async function validateNetworkList(
  runtime: Runtime,
  network: NetworkList,
): Promise<readonly string[]> {
  const failures: unknown[] = [];
  const plugins = network.plugins.flatMap((p, i) => [
    ...(p.type === CHAIN_TYPE ? [p] : []),
    ...unpacked(p, `plugins[${i}]`),
  ]);
  for (const { type } of plugins) {
    try {
      const { env, host, signal, path } = runtime;
      const call = { type, env: { ...env, CNI_PATH: path }, ...(signal ? { signal } : {}) };
      const supported = await pluginVersions(call, host);
      if (!supported.includes(network.cniVersion))
        throw new NetError("version/incompatible", { wanted: network.cniVersion, supported });
    } catch (e) {
      failures.push(e);
    }
  }
  try {
    refuseTwice(runtime, network);
  } catch (e) {
    failures.push(e);
  }
  throwAll(failures);
  return capabilitiesOf(network.plugins);
}

/** What ADD left in the cache for one attachment, as an attachment and a list that DEL accepts. */
export interface RememberedAttachment {
  readonly key: CacheKey;
  readonly attachment: Attachment;
  /** Absent if the cached list cannot be read. */
  readonly network?: NetworkList;
  readonly result?: Result;
}

/** Every attachment in the cache, of one container if its ID is given. */
export function cachedAttachments(runtime: Runtime, containerId?: string): readonly RememberedAttachment[] {
  return listCache(runtimeCacheDir(runtime), containerId).map((entry) => {
    const network = cachedList(entry);
    const attachment = withCachedArgs(
      { ...pick(entry.key), ...(entry.netns === undefined ? {} : { netns: entry.netns }) },
      entry,
    );
    const result = tryDecode(entry, network?.cniVersion ?? newestVersion);
    return { key: entry.key, attachment, ...(network ? { network } : {}), ...(result ? { result } : {}) };
  });
}

/**
 * The cached result of one attachment, if there is one.
 * @throws decode/malformed, version/conversion
 */
export function cachedResult(
  runtime: Runtime,
  network: NetworkList,
  attachment: AttachmentKey,
): Result | undefined {
  const cached = readCache(runtimeCacheDir(runtime), cacheKey(network, attachment));
  if (cached.kind === "broken") throw cached.error;
  return cached.kind === "entry" && cached.entry.result
    ? decodeResult(cached.entry.result, network.cniVersion)
    : undefined;
}

const pick = ({ containerId, ifname }: CacheKey): AttachmentKey => ({ containerId, ifname });

function tryDecode(entry: CacheEntry, version: Version): Result | undefined {
  try {
    return entry.result && decodeResult(entry.result, knownVersion(version) ?? newestVersion);
  } catch {
    return undefined;
  }
}
