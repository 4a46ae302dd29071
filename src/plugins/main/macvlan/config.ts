import { flag, integer, invalid, object, type ObjectOf, withDefault } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import type { Mac } from "../../../net/mac.ts";
import type { Dad } from "../../../rtnl/address.ts";
import type { MacvlanMode } from "../../../rtnl/kinds/macvlan.ts";
import { ipamField, ipamForRemoval, linkMac, unlessEmpty } from "../../shared/config.ts";
import { dadOf, masterFields, onMaster, type OnMaster, word } from "../../shared/master.ts";

/** The keys that `macvlan` and `macvtap` have in common. */
export interface OwnMacConfig extends OnMaster {
  readonly mode: MacvlanMode;
  /** Absent: random, or in mode passthru that of the master. */
  readonly mac?: Mac;
  /** Absent: the kernel's 1000. */
  readonly broadcastQueueLength?: number;
  readonly dad: Dad;
  readonly ipam?: string;
  readonly dns?: Dns;
}

/** The keys of a `macvlan` network, read and checked against each other. */
export interface MacvlanConfig extends OwnMacConfig {
  readonly hostAccess: boolean;
}

export const ownMacFields = {
  ...masterFields,
  mode: word("bridge", "private", "vepa", "passthru"),
  mac: unlessEmpty(linkMac),
  bcqueuelen: integer({ min: 0, max: 0xffffffff }),
  enabledad: flag,
  ipam: ipamField,
  dns: dnsFields,
} as const;

export const options = object({ ...ownMacFields, hostAccess: withDefault(flag, false) });

const whyNoHostAccess: Readonly<Record<Exclude<MacvlanMode, "bridge">, string>> = {
  private: "in mode private no link of the master reaches another",
  vepa: "in mode vepa every frame goes out to the switch, which sends back what is for the host by itself",
  passthru: "in mode passthru the master carries no second link",
};

/** The host's own link, which `hostAccess` is about, exists only where the host can have one beside the container's. */
function checkHostAccess({ hostAccess, mode, linkInContainer, ipam }: MacvlanConfig): void {
  if (!hostAccess) return;
  if (mode !== "bridge") invalid("hostAccess", `${whyNoHostAccess[mode]}; use mode bridge`);
  if (linkInContainer) invalid("hostAccess", "the master is in the container, where the host has no link");
  if (ipam === undefined)
    invalid("hostAccess", "the host reaches containers by address, and there is no ipam");
}

/** What was read by `ownMacFields`. */
export function ownMacConfig(raw: ObjectOf<typeof ownMacFields>): OwnMacConfig {
  const ipam = raw.ipam?.type || undefined;
  return {
    ...onMaster(raw),
    mode: raw.mode ?? "bridge",
    ...(raw.mac ? { mac: raw.mac } : {}),
    ...(raw.bcqueuelen ? { broadcastQueueLength: raw.bcqueuelen } : {}),
    dad: dadOf(raw.enabledad),
    ...(ipam === undefined ? {} : { ipam }),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): MacvlanConfig {
  const raw = options(conf.raw, "");
  const config = { ...ownMacConfig(raw), hostAccess: raw.hostAccess };
  checkHostAccess(config);
  return config;
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): MacvlanConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return parseConfig({ ...conf, raw: ipam === undefined ? {} : { ipam: { type: ipam } } });
  }
}
