import {
  type Decode,
  flag,
  integer,
  invalid,
  list,
  object,
  refined,
  withDefault,
} from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import type { Backend } from "../../../firewall/model.ts";
import { parseIfName } from "../../../net/ifname.ts";
import { VLAN_MAX, VLAN_MIN } from "../../../net/vlan.ts";
import type { PortVlans } from "../../../rtnl/bridge-vlan.ts";
import { backendOf, ifName, ipamField, ipamForRemoval, masqueradeFields, mtu } from "../../shared/config.ts";

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
  /** Absent: the port is in the VLAN that the bridge gives a new port, if it knows VLANs at all. */
  readonly vlans?: VlanConfig;
  readonly ipam?: string;
  readonly dns?: Dns;
}

export interface VlanConfig extends PortVlans {
  /** The VLANs that a new port of the bridge is in stay. */
  readonly keepDefault: boolean;
  /** The host's interface in the VLAN, if it is the gateway there. */
  readonly gateway?: { readonly name: string; readonly vlan: number };
}

const DEFAULT_BRIDGE = "cni0";
const no = withDefault(flag, false);

/** The empty name is the same as none. */
const bridgeName: Decode<string> = (value, at) => (value === "" ? DEFAULT_BRIDGE : ifName(value, at));

const vid = integer({ min: VLAN_MIN, max: VLAN_MAX });

/** One entry of `vlanTrunk`: a VLAN, a range of them, or both; the list of what it says. */
const trunk = refined(object({ id: vid, minID: vid, maxID: vid }), ({ id, minID, maxID }, at) => {
  if ((minID === undefined) !== (maxID === undefined))
    return invalid(`${at}.${minID === undefined ? "minID" : "maxID"}`, "is missing: a range has two ends");
  if (minID !== undefined && maxID !== undefined && maxID < minID)
    return invalid(`${at}.maxID`, `${maxID} is less than minID, which is ${minID}`);
  const single = id === undefined ? [] : [id];
  if (minID === undefined || maxID === undefined) return single;
  return [...single, ...Array.from({ length: maxID - minID + 1 }, (_, i) => minID + i)];
});

export const options = object({
  bridge: bridgeName,
  isGateway: no,
  isDefaultGateway: no,
  forceAddress: no,
  ...masqueradeFields,
  mtu,
  hairpinMode: no,
  promiscMode: no,
  vlan: integer({ min: 0, max: VLAN_MAX }),
  vlanTrunk: list(trunk),
  preserveDefaultVlan: no,
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
  const bridge = raw.bridge ?? DEFAULT_BRIDGE;
  const isGateway = raw.isGateway || raw.isDefaultGateway;
  const vlans = vlansOf(raw, bridge, isGateway && ipam !== undefined);
  return {
    bridge,
    isGateway,
    ...(vlans ? { vlans } : {}),
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

/** The VLAN of a bridge's ports that nobody has put into another (`vlan_default_pvid`). */
const USUAL_VLAN = 1;

function vlansOf(
  raw: Pick<ReturnType<typeof options>, "vlan" | "vlanTrunk" | "preserveDefaultVlan">,
  bridge: string,
  isGateway: boolean,
): VlanConfig | undefined {
  const vlan = raw.vlan || undefined;
  const trunks = new Set(raw.vlanTrunk?.flat());
  if (vlan === undefined && trunks.size === 0) return undefined;
  // A trunk without `vlan` takes frames without a tag as an ordinary port does.
  const native = vlan ?? USUAL_VLAN;
  trunks.delete(native);
  const gateway = isGateway && vlan !== undefined ? { name: `${bridge}.${vlan}`, vlan } : undefined;
  const name = gateway && parseIfName(gateway.name);
  if (name && !name.ok) invalid("vlan", `the host's interface in it cannot be made: ${name.why}`);
  return {
    native,
    tagged: [...trunks].toSorted((a, b) => a - b),
    keepDefault: raw.preserveDefaultVlan,
    ...(gateway ? { gateway } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): BridgeConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    return parseConfig({ ...conf, raw: ipam === undefined ? {} : { ipam: { type: ipam } } });
  }
}
