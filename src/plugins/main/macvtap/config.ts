import { integer, object } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { ipamForRemoval } from "../../shared/config.ts";
import { ownMacConfig, type OwnMacConfig, ownMacFields } from "../macvlan/config.ts";

/** The keys of a `macvtap` network: those of `macvlan`, and to whom the character device belongs. */
export interface MacvtapConfig extends OwnMacConfig {
  /** Numbers of the user and the group; absent: root. */
  readonly uid?: number;
  readonly gid?: number;
}

/** (uid_t) -1 means no one. */
const id = integer({ min: 0, max: 0xfffffffe });

export const options = object({ ...ownMacFields, owner: id, group: id });

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): MacvtapConfig {
  const raw = options(conf.raw, "");
  return {
    ...ownMacConfig(raw),
    ...(raw.owner === undefined ? {} : { uid: raw.owner }),
    ...(raw.group === undefined ? {} : { gid: raw.group }),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): MacvtapConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return parseConfig({ ...conf, raw: ipam === undefined ? {} : { ipam: { type: ipam } } });
  }
}
