import { failureOf } from "../errors.ts";
import { isAlive } from "../netstate/alive.ts";
import { isBusy, listRecords } from "../netstate/record.ts";
import { type CacheKey, DEFAULT_CACHE_DIR, listCache, liveNetns } from "./cache.ts";
import { clearRecord } from "./detach.ts";
import type { NetworkList } from "./list.ts";
import { loadNetwork } from "./load.ts";
import { cachedAttachments, delNetworkList, type Runtime } from "./runtime.ts";

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
  const dead = new Map<string, CacheKey>();
  const recorded = new Set<string>();
  for (const record of listRecords("heddle-")) {
    recorded.add(keyOf(record.owner));
    if (!isAlive(record) && !isBusy(record.owner)) dead.set(keyOf(record.owner), record.owner);
  }
  for (const entry of listCache(runtime.cacheDir ?? DEFAULT_CACHE_DIR)) {
    const ours = entry.netnsId !== undefined && !recorded.has(keyOf(entry.key));
    if (ours && liveNetns(entry) === undefined) dead.set(keyOf(entry.key), entry.key);
  }
  const done: Collected[] = [];
  for (const owner of dead.values()) {
    const { network, containerId, ifname } = owner;
    const failure = await failureOf(() => detachDead(runtime, confDir, owner));
    done.push({ network, containerId, ifname, ...(failure ? { failure } : {}) });
  }
  return done;
}

const keyOf = (o: CacheKey): string => [o.network, o.containerId, o.ifname].join("\0");

async function detachDead(runtime: Runtime, confDir: string, owner: CacheKey): Promise<void> {
  const list = listOf(runtime, confDir, owner);
  const { containerId, ifname } = owner;
  if (list !== undefined) await delNetworkList(runtime, list, { containerId, ifname });
  for (const record of listRecords("heddle-"))
    if (keyOf(record.owner) === keyOf(owner)) await clearRecord(record.owner);
}

function listOf(runtime: Runtime, confDir: string, owner: CacheKey): NetworkList | undefined {
  const cached = cachedAttachments(runtime, owner.containerId).find(
    ({ key }) => key.network === owner.network && key.ifname === owner.ifname,
  );
  if (cached?.network !== undefined) return cached.network;
  try {
    return loadNetwork(confDir, owner.network);
  } catch (e) {
    runtime.log?.(
      `network ${owner.network} is cleaned up without its configuration: ${(e as Error).message}`,
    );
    return undefined;
  }
}
