import { type Decode, flag, integer, object, text, withDefault } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import type { IfName } from "../../../net/ifname.ts";
import type { Mac } from "../../../net/mac.ts";
import { ifName, ipamField, ipamForRemoval, linkMac, unlessEmpty } from "../../shared/config.ts";

/** The keys of a `tap` network. */
export interface TapConfig {
  readonly multiQueue: boolean;
  /** Absent: the kernel's default, 1500. */
  readonly mtuBytes?: number;
  readonly mac?: Mac;
  readonly owner?: number;
  readonly group?: number;
  readonly selinuxContext?: string;
  /** A bridge of the container. */
  readonly bridge?: IfName;
  readonly ipam?: string;
  readonly dns?: Dns;
}

/** A frame's 65535 bytes with its header; 0 is the same as absent. */
const mtu: Decode<number> = (value, at) => (value === 0 ? 0 : integer({ min: 68, max: 65521 })(value, at));
/** 4294967295 is nobody (`uid_t` of -1). */
const id = integer({ min: 0, max: 4294967294 });

export const options = object({
  multiQueue: withDefault(flag, false),
  mtu,
  mac: unlessEmpty(linkMac),
  owner: id,
  group: id,
  selinuxContext: text,
  bridge: unlessEmpty(ifName),
  ipam: ipamField,
  dns: dnsFields,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): TapConfig {
  const { multiQueue, owner, group, ...raw } = options(conf.raw, "");
  return {
    multiQueue,
    ...(raw.mtu ? { mtuBytes: raw.mtu } : {}),
    ...(raw.mac ? { mac: raw.mac } : {}),
    ...(owner === undefined ? {} : { owner }),
    ...(group === undefined ? {} : { group }),
    ...(raw.selinuxContext ? { selinuxContext: raw.selinuxContext } : {}),
    ...(raw.bridge ? { bridge: raw.bridge } : {}),
    ...(raw.ipam?.type ? { ipam: raw.ipam.type } : {}),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): TapConfig {
  const ipam = ipamForRemoval(conf);
  return { multiQueue: false, ...(ipam === undefined ? {} : { ipam }) };
}
