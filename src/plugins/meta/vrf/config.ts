import { integer, object, required } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { IfName } from "../../../net/ifname.ts";
import { ifName } from "../../shared/config.ts";
import { LAST_TABLE } from "../../shared/tables.ts";

/** The keys of `vrf`. */
export interface VrfConfig {
  readonly name: IfName;
  /** Absent: that of the VRF, or a free one. */
  readonly table?: number;
}

export const options = object({
  vrfname: required(ifName),
  table: integer({ min: 0, max: LAST_TABLE }),
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): VrfConfig {
  const { vrfname, table } = options(conf.raw, "");
  return { name: vrfname, ...(table ? { table } : {}) };
}

/** What is needed to look for what the reference made; without a name that can be read it made nothing. */
export function parseForRemoval(conf: NetConf): VrfConfig | undefined {
  try {
    return { name: options(conf.raw, "").vrfname };
  } catch {
    return undefined;
  }
}
