import { failureOf } from "../errors.ts";
import { isAlive } from "../netstate/alive.ts";
import { MARK_PREFIX } from "../netstate/owner.ts";
import { type AttachmentRecord, listRecords } from "../netstate/record.ts";
import { lookSteadily } from "../netstate/steady.ts";
import { type CacheKey, listCache, liveNetns } from "./cache.ts";
import { clearRecord } from "./detach.ts";
import type { NetworkList } from "./list.ts";
import { loadNetwork } from "./load.ts";
import { cachedAttachments, delNetworkList, type Runtime, runtimeCacheDir } from "./runtime.ts";

/**
 * Cleaning up after containers that are gone, for a whole host: every attachment whose namespace no longer exists is
 * detached as its runtime would have done it, with the list from the cache or from the configuration directory.
 * What has neither is taken out of the kernel by its record alone; what has no record, as after a reboot, is told by
 * the cache if it was our runtime that attached it. Those of other runtimes are theirs.
 */
export interface Collected {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly failure?: Error;
}

export async function collectDead(runtime: Runtime, confDir: string): Promise<readonly Collected[]> {
  const done: Collected[] = [];
  for (const { owner } of await findDead(runtime)) {
    const { network, containerId, ifname } = owner;
    const failure = await failureOf(() => detachDead(runtime, confDir, owner));
    done.push({ network, containerId, ifname, ...(failure ? { failure } : {}) });
  }
  return done;
}

/** A dead attachment: who it was, and the records of its plugins, if it has any. */
export interface Dead {
  readonly owner: CacheKey;
  readonly records: readonly AttachmentRecord[];
}

/**
 * Every attachment whose container is gone and which nobody is at work on: those with a record, and those that the cache
 * alone knows.
 */
export async function findDead(runtime: Pick<Runtime, "cacheDir">): Promise<readonly Dead[]> {
  const dead: Dead[] = [];
  const recorded = Map.groupBy(listRecords(MARK_PREFIX), (r) => keyOf(r.owner));
  for (const records of recorded.values()) {
    for (const { owner } of records) {
      // The list is of a moment ago: what an ADD was making then may live by now.
      const looked = await lookSteadily(owner, (record) => !isAlive(record));
      if (looked.kind !== "seen" || !looked.value) continue;
      dead.push({ owner, records });
      break;
    }
  }
  for (const entry of listCache(runtimeCacheDir(runtime))) {
    const ours = entry.netnsId !== undefined && !recorded.has(keyOf(entry.key));
    if (ours && liveNetns(entry) === undefined) dead.push({ owner: entry.key, records: [] });
  }
  return dead;
}

/** How many entries of the cache that other runtimes wrote have lost their namespace, and have no record of ours. */
export function countDeadOfOthers(runtime: Pick<Runtime, "cacheDir">): number {
  const recorded = new Set(listRecords(MARK_PREFIX).map((r) => keyOf(r.owner)));
  return listCache(runtimeCacheDir(runtime)).filter(
    (entry) =>
      entry.netns !== undefined &&
      entry.netnsId === undefined &&
      !recorded.has(keyOf(entry.key)) &&
      liveNetns(entry) === undefined,
  ).length;
}

const keyOf = (o: CacheKey): string => [o.network, o.containerId, o.ifname].join("\0");

async function detachDead(runtime: Runtime, confDir: string, owner: CacheKey): Promise<void> {
  const list = listFor(runtime, confDir, owner)?.list;
  const { containerId, ifname } = owner;
  if (list !== undefined) await delNetworkList(runtime, list, { containerId, ifname });
  for (const record of listRecords(MARK_PREFIX))
    if (keyOf(record.owner) === keyOf(owner)) await clearRecord(record.owner);
}

/** The list that an attachment is detached with, and where it is from. */
export interface FoundList {
  readonly list: NetworkList;
  readonly from: "cache" | "configuration";
}

/** Undefined, and told to the runtime's log, if there is none: then the records alone say what to remove. */
export function listFor(runtime: Runtime, confDir: string, owner: CacheKey): FoundList | undefined {
  const cached = cachedAttachments(runtime, owner.containerId).find(
    ({ key }) => key.network === owner.network && key.ifname === owner.ifname,
  );
  if (cached?.network !== undefined) return { list: cached.network, from: "cache" };
  try {
    return { list: loadNetwork(confDir, owner.network), from: "configuration" };
  } catch (e) {
    runtime.log?.(
      `network ${owner.network} is cleaned up without its configuration: ${(e as Error).message}`,
    );
    return undefined;
  }
}
