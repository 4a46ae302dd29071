import { flag, invalid, object, withDefault } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import type { Dad } from "../../../rtnl/address.ts";
import type { IpvlanMode } from "../../../rtnl/kinds/ipvlan.ts";
import { ipamField, ipamForRemoval } from "../../shared/config.ts";
import { dadOf, masterFields, onMaster, type OnMaster, word } from "../../shared/master.ts";

/** The keys of an `ipvlan` network, read and checked against each other. */
export interface IpvlanConfig extends OnMaster {
  readonly mode: IpvlanMode;
  readonly dad: Dad;
  readonly hostAccess: boolean;
  /** Absent: the addresses are those of the previous plugin's result. */
  readonly ipam?: string;
  readonly dns?: Dns;
}

export const options = object({
  ...masterFields,
  mode: word("l2", "l3", "l3s"),
  enabledad: flag,
  hostAccess: withDefault(flag, false),
  ipam: ipamField,
  dns: dnsFields,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): IpvlanConfig {
  const raw = options(conf.raw, "");
  const ipam = raw.ipam?.type || undefined;
  if (raw.hostAccess && raw.linkInContainer)
    invalid("hostAccess", "the master is in the container, where the host has no link");
  return {
    ...onMaster(raw),
    mode: raw.mode ?? "l2",
    dad: dadOf(raw.enabledad),
    hostAccess: raw.hostAccess,
    ...(ipam === undefined ? {} : { ipam }),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): IpvlanConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return parseConfig({ ...conf, raw: ipam === undefined ? {} : { ipam: { type: ipam } } });
  }
}
