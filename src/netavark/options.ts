/** Options of a network (`podman network create -d heddle -o KEY=VALUE`), every value a text. */
import { type Decode, invalid, type JsonObject, object, oneOf, parsed } from "../cni/json.ts";
import type { Ip } from "../net/ip.ts";
import { parseIp } from "../net/ip.ts";
import {
  ifName,
  type Mode,
  modes,
  mtu,
  number,
  orNone,
  parentKeys,
  parentWords,
  refuseOthers,
  truth,
} from "../plugins/shared/option-words.ts";

const isolate: Decode<boolean> = (value, at) =>
  value === "strict"
    ? invalid(at, "is true or false; who does not ask for it is kept from nobody")
    : truth(value, at);
const ip: Decode<Ip> = parsed(parseIp);

/** Those of Docker are in Compose files. */
const common = {
  mode: oneOf(...modes),
  mtu,
  "com.docker.network.driver.mtu": mtu,
  metric: number({ min: 0, max: 0xffff_ffff }),
  no_default_route: truth,
} as const;
const ofBridge = {
  isolate,
  "com.docker.network.bridge.name": orNone(ifName),
  "com.docker.network.bridge.enable_ip_masquerade": truth,
  "com.docker.network.bridge.enable_icc": truth,
  "com.docker.network.bridge.host_binding_ipv4": orNone(ip),
} as const;

const readMode = object({ mode: common.mode });
const readAll = object({ ...common, ...ofBridge, ...parentWords });

const keysOf: { readonly [M in Mode]: readonly string[] } = {
  bridge: [...Object.keys(common), ...Object.keys(ofBridge)],
  macvlan: [...Object.keys(common), ...parentKeys.macvlan],
  ipvlan: [...Object.keys(common), ...parentKeys.ipvlan],
  vlan: [...Object.keys(common), ...parentKeys.vlan],
};

export type Options = ReturnType<typeof readOptions>;

/** What the options say. `where` is the path of what has them. @throws config/invalid with the key */
export function readOptions(raw: JsonObject, where: string) {
  const at = where === "" ? "options" : `${where}.options`;
  const mode = readMode(raw, at).mode ?? "bridge";
  refuseOthers(raw, at, mode, keysOf[mode]);
  const given = readAll(raw, at);
  return {
    at,
    mode,
    mtuBytes: given.mtu ?? given["com.docker.network.driver.mtu"],
    metric: given.metric,
    defaultRoute: given.no_default_route !== true,
    isolated: given.isolate ?? false,
    /** The link that the network is on: its bridge, or what it hangs on. */
    link: mode === "bridge" ? given["com.docker.network.bridge.name"] : given.parent,
    masquerade: given["com.docker.network.bridge.enable_ip_masquerade"] ?? true,
    betweenContainers: given["com.docker.network.bridge.enable_icc"] ?? true,
    hostBinding: given["com.docker.network.bridge.host_binding_ipv4"],
    vlan: given.vlan,
    macvlanMode: given.macvlan_mode ?? "bridge",
    ipvlanMode: given.ipvlan_mode ?? "l2",
  };
}
