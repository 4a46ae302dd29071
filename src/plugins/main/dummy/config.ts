import { object } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import { ipamForRemoval, requiredIpam } from "../../shared/config.ts";

/** The keys of a `dummy` network. */
export interface DummyConfig {
  /** Absent only when a configuration that lost it is cleaned up after. */
  readonly ipam?: string;
  readonly dns?: Dns;
}

export const options = object({ ipam: requiredIpam, dns: dnsFields });

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): DummyConfig {
  const { ipam, dns } = options(conf.raw, "");
  return { ipam: ipam.type, ...(dns ? { dns } : {}) };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): DummyConfig {
  const ipam = ipamForRemoval(conf);
  return ipam === undefined ? {} : { ipam };
}
