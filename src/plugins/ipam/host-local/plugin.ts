/**
 * `host-local`: hands out addresses of this host from ranges in the configuration and remembers them in files, which
 * are those of the reference plugin. This file joins configuration, store and allocation into the verbs.
 */
import type { AttachmentKey, CheckCall, GcCall, Plugin } from "../../../cni/plugin.ts";
import type { Dns } from "../../../cni/result.ts";
import { fromSystem, NetError } from "../../../errors.ts";
import { readText } from "../../../sys/files.ts";
import { demand } from "../decode.ts";
import { allocate, exhausted, wishes } from "./allocate.ts";
import {
  type HostLocalConfig,
  options,
  parseConfig,
  parseForRemoval,
  type Pool,
  requestedByArgs,
} from "./config.ts";
import { type Files, realFiles } from "./files.ts";
import { collectGarbage } from "./garbage.ts";
import { rangeOf, setText } from "./ranges.ts";
import { parseResolvConf } from "./resolv-conf.ts";
import { commit, isOwner, openExisting, openStore, ownerOf, releaseAll, requireOwn } from "./store.ts";

/** The plugin over a given set of file operations. */
export const makeHostLocal = (files: Files): Plugin<HostLocalConfig> => ({
  type: "host-local",
  about: "IPAM: addresses from ranges of this host, remembered in files",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  add: (call) =>
    attempt(() => {
      const pool = demand(call.config.pool);
      const wanted = wishes(pool.sets, [...requestedByArgs(call.args), ...pool.requested]);
      const dns = readDns(pool);
      using store = openStore(call.config.place, files);
      const ips = allocate(store, wanted, call);
      commit(store);
      return { interfaces: [], ips, routes: pool.routes, dns };
    }),
  del: (call) =>
    attempt(() => {
      using store = openExisting(call.config.place, files);
      if (!store) return;
      releaseAll(store, call);
      commit(store);
    }),
  check: (call) => attempt(() => verify(call, demand(call.config.pool))),
  gc: (call) => attempt(() => sweep(call, files)),
  status: ({ config }) =>
    attempt(() => {
      const pool = demand(config.pool);
      readDns(pool);
      requireOwn(config.place);
      const full = exhausted(config.place, pool.sets);
      if (full.length > 0) {
        const why = `no IP addresses available in range set: ${full.map(setText).join("; ")}`;
        throw new NetError("status/unavailable", { why });
      }
    }),
});

export const hostLocal: Plugin<HostLocalConfig> = makeHostLocal(realFiles);

/** Runs a verb; a file operation that failed becomes `sys/call`. */
async function attempt<T>(verb: () => T): Promise<T> {
  try {
    return verb();
  } catch (e) {
    throw fromSystem(e);
  }
}

const readDns = (pool: Pool): Dns =>
  pool.resolvConf === undefined ? {} : parseResolvConf(readText(pool.resolvConf));

/** Each set must have given one address of prevResult, and every such address must be reserved for the attachment. */
function verify(call: CheckCall<HostLocalConfig>, pool: Pool): void {
  const ips = call.prevResult?.ips.map((i) => i.address.ip) ?? [];
  for (const set of pool.sets) {
    const mine = ips.filter((ip) => rangeOf(set, ip));
    if (mine.length === 0) {
      const found = ips.map((ip) => ip.text).join(", ") || "none";
      throw new NetError("check/differs", {
        what: "addresses of prevResult",
        wanted: `one of ${setText(set)}`,
        found,
      });
    }
    for (const ip of mine) {
      const owner = ownerOf(call.config.place, ip);
      if (!isOwner(owner, call))
        throw new NetError("check/differs", {
          what: `reservation of ${ip.text}`,
          wanted: describe(call),
          found: owner === undefined ? "none" : owner.replace(/\s+/g, " ") || "an empty file",
        });
    }
  }
}

const describe = (key: AttachmentKey): string => `${key.containerId} ${key.ifname}`;

function sweep(call: GcCall<HostLocalConfig>, files: Files): void {
  using store = openExisting(call.config.place, files);
  if (!store) return;
  const errors = collectGarbage(store, call.valid);
  if (errors.length > 0)
    throw new AggregateError(errors.map(fromSystem), "some reservations could not be removed");
  commit(store);
}
