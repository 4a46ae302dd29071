import { NetError } from "../errors.ts";
import { type Mac, parseMac } from "../net/mac.ts";
import { OWN_NETNS } from "../netstate/alive.ts";
import { MARK_PREFIX } from "../netstate/owner.ts";
import { type AttachmentRecord, listRecords, recordedAt } from "../netstate/record.ts";
import { statPath } from "../sys/files.ts";
import { type CachedAttachment, type CacheKey, DEFAULT_CACHE_DIR, listCache } from "./cache.ts";
import { parseNetworkList, unpacked } from "./list.ts";
import { decodeResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { newestVersion } from "./version.ts";

/**
 * What is attached on this host, from the records of plugins and the cache of the runtime, and how people name one of
 * it: by a key of twelve hexadecimal digits, of which as many are enough as no other begins with.
 */
export interface KnownAttachment extends CacheKey {
  readonly key: string;
  /** Of each plugin that keeps one, in the order in which they were made. */
  readonly records: readonly AttachmentRecord[];
  readonly cached?: CachedAttachment;
  /** Types of the plugins of its list, in order, if the cache knows it; else of those that keep a record. */
  readonly plugins: readonly string[];
  /** The final result, if the cache has one that can be read. */
  readonly result?: Result;
  /** Path of the container's namespace, if one is known. */
  readonly netns?: string;
  /** When ADD of its first plugin was done, in milliseconds since 1970. */
  readonly since?: number;
}

const KEY_DIGITS = 12;

/** The key of an attachment: part of a hash, which is the same on every host. */
export const attachmentKey = ({ network, containerId, ifname }: CacheKey): string =>
  new Bun.CryptoHasher("sha256")
    .update([network, containerId, ifname].join("\0"))
    .digest("hex")
    .slice(0, KEY_DIGITS);

/**
 * Every attachment, ordered by network, container and interface.
 * @throws sys/call if a directory is there and cannot be read
 */
export function listAttachments(cacheDir: string = DEFAULT_CACHE_DIR): readonly KnownAttachment[] {
  // Before the records: a runtime remembers what has them already.
  const cached = new Map(listCache(cacheDir).map((entry) => [attachmentKey(entry.key), entry]));
  // What a network of Docker has for itself belongs to no container.
  const found = listRecords(MARK_PREFIX).filter((r) => r.owner.containerId !== "");
  const records = Map.groupBy(found, (r) => attachmentKey(r.owner));
  return [...new Set([...records.keys(), ...cached.keys()])]
    .map((key) => known(key, records.get(key) ?? [], cached.get(key)))
    .toSorted(
      (a, b) =>
        compare(a.network, b.network) || compare(a.containerId, b.containerId) || compare(a.ifname, b.ifname),
    );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function known(
  key: string,
  found: readonly AttachmentRecord[],
  cached: CachedAttachment | undefined,
): KnownAttachment {
  const listed = cached && pluginsOf(cached);
  const timed = found
    .map((record) => ({ record, at: recordedAt(record.owner) ?? 0, place: placeOf(record, listed) }))
    // The clock of files is coarse: records of one ADD may have the same time.
    .toSorted((a, b) => a.at - b.at || a.place - b.place);
  const { network, containerId, ifname } = timed[0]?.record.owner ?? (cached as CachedAttachment).key;
  const bound = timed[0]?.record.netns.path ?? cached?.netns;
  // What is bound to the host has its interface where another program has put it.
  const netns = bound === OWN_NETNS ? timed.find(({ record }) => record.sandbox)?.record.sandbox : bound;
  const since = timed[0]?.at ?? (cached && writtenAt(cached));
  const result = cached && resultOf(cached);
  return {
    key,
    network,
    containerId,
    ifname,
    records: timed.map(({ record }) => record),
    plugins: listed ?? timed.map(({ record }) => record.owner.component),
    ...(cached ? { cached } : {}),
    ...(result ? { result } : {}),
    ...(netns === undefined ? {} : { netns }),
    ...(since === undefined || since === 0 ? {} : { since }),
  };
}

const makers: readonly string[] = ["veth", "link", "tap", "moved-link"];

/** Where in its list the record's plugin stands; without the list, who makes an interface comes first. */
function placeOf({ owner, state }: AttachmentRecord, listed: readonly string[] | undefined): number {
  const at = listed?.indexOf(owner.component) ?? -1;
  if (at >= 0) return at;
  return state?.objects.some((o) => makers.includes(o.kind)) ? 0 : 1;
}

/** Types of the plugins that made it; undefined if the cache does not say. */
function pluginsOf({ config }: CachedAttachment): readonly string[] | undefined {
  if (config === undefined || config === "") return undefined;
  return unlessMalformed(() => {
    const list = parseNetworkList(config, "cached configuration");
    return list.plugins.flatMap((p, i) => unpacked(p, `plugins[${i}]`)).map(({ type }) => type);
  });
}

const resultOf = ({ result }: CachedAttachment): Result | undefined =>
  result && unlessMalformed(() => decodeResult(result, newestVersion));

/** What another program wrote badly is as good as nothing. */
function unlessMalformed<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

function writtenAt({ file }: CachedAttachment): number | undefined {
  const found = statPath(file);
  return found && Number(found.mtimeNs) / 1e6;
}

/** The address that the container's interface had after the last plugin, by the result. */
export function lastMac({ result, ifname }: KnownAttachment): Mac | undefined {
  const inside = result?.interfaces.find((i) => i.name === ifname && i.sandbox !== undefined);
  const parsed = inside?.mac === undefined ? undefined : parseMac(inside.mac);
  return parsed?.ok ? parsed.value : undefined;
}

type Findable = CacheKey & Pick<KnownAttachment, "key"> & Partial<Pick<KnownAttachment, "plugins">>;

/**
 * The attachment that a person means: by the beginning of its key or of its container's id.
 * @throws usage/invalid if there is none, or more than one
 */
export function findAttachment<A extends Findable>(list: readonly A[], asked: string): A {
  const byKey = asked === "" ? [] : list.filter((a) => a.key.startsWith(asked.toLowerCase()));
  const found =
    byKey.length > 0 || asked === "" ? byKey : list.filter((a) => a.containerId.startsWith(asked));
  const [one, ...more] = found;
  if (one === undefined)
    throw new NetError("usage/invalid", {
      why: `no attachment's key or container begins with "${asked}"; heddle ps lists what there is${hintOfDocker(list)}`,
    });
  if (more.length > 0)
    throw new NetError("usage/invalid", {
      why: `"${asked}" means ${found.length} attachments: ${names(found)}`,
    });
  return one;
}

/** Docker tells its driver of endpoints, and of no container. */
const hintOfDocker = (list: readonly Findable[]): string =>
  list.some(({ plugins }) => plugins?.includes("docker"))
    ? `, and a container of Docker by its endpoint: docker inspect -f '${ENDPOINTS}' CONTAINER tells it`
    : "";
const ENDPOINTS = "{{range .NetworkSettings.Networks}}{{.EndpointID}} {{end}}";

/** The first few of them, with all that tells them apart. */
function names(found: readonly (Pick<KnownAttachment, "key"> & CacheKey)[]): string {
  const shown = found
    .slice(0, MOST_NAMES)
    .map((a) => `${a.key} (${a.ifname} of ${a.containerId} on ${a.network})`);
  const rest = found.length - shown.length;
  return `${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}
const MOST_NAMES = 5;
