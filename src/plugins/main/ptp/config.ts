import { object } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import type { Backend } from "../../../firewall/model.ts";
import { backendOf, ipamForRemoval, masqueradeFields, mtu, requiredIpam } from "../../shared/config.ts";

/** The keys of a `ptp` network. */
export interface PtpConfig {
  readonly ipMasq: boolean;
  readonly ipMasqBackend: Backend;
  /** Absent: the kernel's default, 1500. */
  readonly mtuBytes?: number;
  /** Absent only when a configuration that lost it is cleaned up after. */
  readonly ipam?: string;
  readonly dns?: Dns;
}

export const options = object({ ...masqueradeFields, mtu, ipam: requiredIpam, dns: dnsFields });

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): PtpConfig {
  const raw = options(conf.raw, "");
  return {
    ipMasq: raw.ipMasq,
    ipMasqBackend: backendOf(raw.ipMasqBackend),
    ...(raw.mtu ? { mtuBytes: raw.mtu } : {}),
    ipam: raw.ipam.type,
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): PtpConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return { ipMasq: false, ipMasqBackend: "nftables", ...(ipam === undefined ? {} : { ipam }) };
  }
}
