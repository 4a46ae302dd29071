import { flag, integer, object, required, withDefault } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import type { Dad } from "../../../rtnl/address.ts";
import { ifName, ipamField, ipamForRemoval } from "../../shared/config.ts";
import { dadOf, masterFields, onMaster, type OnMaster } from "../../shared/master.ts";

/** The keys of a `vlan` network. */
export interface VlanConfig extends OnMaster {
  /** 0 carries a priority and belongs to no VLAN (IEEE 802.1Q). */
  readonly vlanId: number;
  readonly dad: Dad;
  readonly ipam?: string;
  readonly dns?: Dns;
}

export const options = object({
  ...masterFields,
  master: required(ifName),
  vlanId: withDefault(integer({ min: 0, max: 4094 }), 0),
  enabledad: flag,
  ipam: ipamField,
  dns: dnsFields,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): VlanConfig {
  const raw = options(conf.raw, "");
  const ipam = raw.ipam?.type || undefined;
  return {
    ...onMaster(raw),
    vlanId: raw.vlanId,
    dad: dadOf(raw.enabledad),
    ...(ipam === undefined ? {} : { ipam }),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): VlanConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return { linkInContainer: false, vlanId: 0, dad: false, ...(ipam === undefined ? {} : { ipam }) };
  }
}
