import { anything, type Decode, flag, object, withDefault } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import type { Backend } from "../../../firewall/model.ts";
import { backendOf, ifName, ipamField, masqueradeFields, mtu } from "../../shared/config.ts";

/** The keys of a `bridge` network, read and checked against each other. */
export interface BridgeConfig {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly ipMasqBackend: Backend;
  /** Absent: the kernel's default, 1500. */
  readonly mtuBytes?: number;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly macspoofchk: boolean;
  readonly enabledad: boolean;
  readonly disableContainerInterface: boolean;
  readonly portIsolation: boolean;
  readonly ipam?: string;
  readonly dns?: Dns;
}

const DEFAULT_BRIDGE = "cni0";
const no = withDefault(flag, false);

/** The empty name is the same as none. */
const bridgeName: Decode<string> = (value, at) => (value === "" ? DEFAULT_BRIDGE : ifName(value, at));

export const options = object({
  bridge: bridgeName,
  isGateway: no,
  isDefaultGateway: no,
  forceAddress: no,
  ...masqueradeFields,
  mtu,
  hairpinMode: no,
  promiscMode: no,
  vlan: anything,
  vlanTrunk: anything,
  preserveDefaultVlan: flag,
  macspoofchk: no,
  enabledad: no,
  disableContainerInterface: no,
  portIsolation: no,
  ipam: ipamField,
  dns: dnsFields,
});

/** Throws `config/invalid` with the key, or `config/unsupported`. */
export function parseConfig(conf: NetConf): BridgeConfig {
  const raw = options(conf.raw, "");
  const refuse = (field: string, why: string): never => {
    throw new NetError("config/invalid", { field, why });
  };
  const ipam = raw.ipam?.type || undefined;
  if (raw.hairpinMode && raw.promiscMode)
    refuse("hairpinMode", "cannot be set together with promiscMode: frames would arrive twice");
  if (ipam !== undefined && raw.disableContainerInterface)
    refuse(
      "disableContainerInterface",
      "cannot be set together with ipam: a link that is down has no use for an address",
    );
  for (const key of ["vlan", "vlanTrunk"] as const) {
    const value = raw[key];
    if (value === undefined || value === 0 || (Array.isArray(value) && value.length === 0)) continue;
    throw new NetError("config/unsupported", {
      field: key,
      value: JSON.stringify(value),
      why: "VLANs of bridge ports are not supported yet",
    });
  }
  return {
    bridge: raw.bridge ?? DEFAULT_BRIDGE,
    isGateway: raw.isGateway || raw.isDefaultGateway,
    isDefaultGateway: raw.isDefaultGateway,
    forceAddress: raw.forceAddress,
    ipMasq: raw.ipMasq,
    ipMasqBackend: backendOf(raw.ipMasqBackend),
    ...(raw.mtu ? { mtuBytes: raw.mtu } : {}),
    hairpinMode: raw.hairpinMode,
    promiscMode: raw.promiscMode,
    macspoofchk: raw.macspoofchk,
    enabledad: raw.enabledad,
    disableContainerInterface: raw.disableContainerInterface,
    portIsolation: raw.portIsolation,
    ...(ipam === undefined ? {} : { ipam }),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): BridgeConfig {
  try {
    return parseConfig(conf);
  } catch {
    const { ipam } = object({ ipam: anything })(conf.raw, "");
    return parseConfig({ ...conf, raw: ipam === undefined ? {} : { ipam } });
  }
}
