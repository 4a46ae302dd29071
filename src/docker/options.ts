/**
 * Options of a network (`docker network create -o KEY=VALUE`), every value a text. The keys of Docker's own drivers mean
 * here what they mean there.
 */
import { type Decode, invalid, type JsonObject, object, oneOf } from "../cni/json.ts";
import {
  bridgeName,
  ifName,
  modes,
  mtu,
  orNone,
  parentKeys,
  parentWords,
  refuseOthers,
  truth,
  vlanLink,
} from "../plugins/shared/option-words.ts";
import { ip, ipPrefix } from "./decode.ts";
import type { BridgeNetwork, ExtraRoute, Network, ParentNetwork } from "./model.ts";

/** Room for the number that Docker appends. */
const prefix: Decode<string> = (value, at) => {
  const name = ifName(value, at);
  return name.length > 12 ? invalid(at, `"${name}" is longer than 12 characters`) : name;
};

const MOST_ROUTES = 64;

/** `10.5.0.0/16 via 10.1.0.254, 10.6.0.0/16` */
const routes: Decode<readonly ExtraRoute[]> = (value, at) => {
  const words = String(value)
    .split(",")
    .map((w) => w.trim())
    .filter((w) => w !== "");
  if (words.length > MOST_ROUTES)
    return invalid(at, `has ${words.length} routes; there may be ${MOST_ROUTES}`);
  return words.map((word) => {
    const [dst = "", via, gateway, ...more] = word.split(/\s+/);
    if (
      (via !== undefined && via !== "via") ||
      (via !== undefined && gateway === undefined) ||
      more.length > 0
    )
      return invalid(at, `"${word}" is not "DESTINATION via GATEWAY" or "DESTINATION"`);
    const route = { dst: ipPrefix(dst, at), ...(gateway === undefined ? {} : { gateway: ip(gateway, at) }) };
    if (route.gateway && route.gateway.family !== route.dst.ip.family)
      return invalid(at, `"${word}" mixes IPv4 and IPv6`);
    return route;
  });
};

const common = {
  mode: oneOf(...modes),
  routes,
  "com.docker.network.driver.mtu": mtu,
  "com.docker.network.container_iface_prefix": orNone(prefix),
} as const;
const ofBridge = {
  "com.docker.network.bridge.name": orNone(ifName),
  "com.docker.network.bridge.enable_ip_masquerade": truth,
  "com.docker.network.bridge.enable_icc": truth,
  "com.docker.network.bridge.host_binding_ipv4": orNone(ip),
} as const;
const readCommon = object(common);
const readBridge = object(ofBridge);
const readParent = object(parentWords);

const keysOf: { readonly [M in Network["mode"]]: readonly string[] } = {
  bridge: [...Object.keys(common), ...Object.keys(ofBridge)],
  macvlan: [...Object.keys(common), ...parentKeys.macvlan],
  ipvlan: [...Object.keys(common), ...parentKeys.ipvlan],
  vlan: [...Object.keys(common), ...parentKeys.vlan],
};

/** Where the options stand in a request. */
const AT = `Options["com.docker.network.generic"]`;

type Chosen<N> = N extends unknown ? Omit<N, "id" | "internal" | "subnets"> : never;

/** What the options say of a network. `id` names what has no name. @throws config/invalid with the key */
export function readOptions(raw: JsonObject, id: string): Chosen<Network> {
  const given = readCommon(raw, AT);
  const mode = given.mode ?? "bridge";
  refuseOthers(raw, AT, mode, keysOf[mode]);
  const mtuBytes = given["com.docker.network.driver.mtu"];
  const rest = {
    ...(mtuBytes ? { mtuBytes } : {}),
    prefix: given["com.docker.network.container_iface_prefix"] ?? "eth",
    routes: given.routes ?? [],
  };
  return mode === "bridge" ? { ...rest, ...bridgeOf(raw, id) } : { ...rest, ...onParent(raw, mode) };
}

function bridgeOf(
  raw: JsonObject,
  id: string,
): Pick<BridgeNetwork, "mode" | "bridge" | "masquerade" | "betweenContainers" | "hostBinding"> {
  const o = readBridge(raw, AT);
  const hostBinding = o["com.docker.network.bridge.host_binding_ipv4"];
  return {
    mode: "bridge",
    bridge: o["com.docker.network.bridge.name"] ?? bridgeName(id, AT),
    masquerade: o["com.docker.network.bridge.enable_ip_masquerade"] ?? true,
    betweenContainers: o["com.docker.network.bridge.enable_icc"] ?? true,
    ...(hostBinding ? { hostBinding } : {}),
  };
}

function onParent(raw: JsonObject, mode: ParentNetwork["mode"]) {
  const o = readParent(raw, AT);
  if (o.parent === undefined)
    return invalid(`${AT}.parent`, "is missing, and the host has no default route whose link could be it");
  const { parent } = o;
  switch (mode) {
    case "macvlan":
      return { mode, parent, kind: o.macvlan_mode ?? "bridge" } as const;
    case "ipvlan":
      return { mode, parent, kind: o.ipvlan_mode ?? "l2" } as const;
    case "vlan":
      if (o.vlan === undefined) return invalid(`${AT}.vlan`, "is missing; say -o vlan=ID, 1 to 4094");
      return { mode, parent, vlan: o.vlan, link: vlanLink(parent, o.vlan, AT) } as const;
  }
}
