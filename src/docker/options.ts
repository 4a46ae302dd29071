/**
 * Options of a network (`docker network create -o KEY=VALUE`), every value a text. The keys of Docker's own drivers mean
 * here what they mean there.
 */
import { type Decode, fold, integer, invalid, type JsonObject, object, oneOf, parsed } from "../cni/json.ts";
import { IF_NAME_BYTES, type IfName, parseIfName } from "../net/ifname.ts";
import { VLAN_MAX, VLAN_MIN } from "../net/vlan.ts";
import { ip, ipPrefix, orNone } from "./decode.ts";
import type { BridgeNetwork, ExtraRoute, Network, ParentNetwork } from "./model.ts";

const number =
  (bounds: { readonly min: number; readonly max: number }): Decode<number> =>
  (value, at) => {
    const word = typeof value === "string" && /^\d{1,9}$/.test(value) ? Number(value) : value;
    return integer(bounds)(word, at);
  };

/** As Go reads a truth value. */
const truth: Decode<boolean> = (value, at) => {
  const word = String(value).toLowerCase();
  if (["true", "t", "1"].includes(word)) return true;
  return ["false", "f", "0"].includes(word) ? false : invalid(at, `"${word}" is neither true nor false`);
};

const ifName = parsed(parseIfName);
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
  mode: oneOf("bridge", "macvlan", "ipvlan", "vlan"),
  routes,
  // 68 is the least that IPv4 allows (RFC 791); 0 is the same as absent.
  "com.docker.network.driver.mtu": number({ min: 0, max: 65535 }),
  "com.docker.network.container_iface_prefix": orNone(prefix),
} as const;
const ofBridge = {
  "com.docker.network.bridge.name": orNone(ifName),
  "com.docker.network.bridge.enable_ip_masquerade": truth,
  "com.docker.network.bridge.enable_icc": truth,
  "com.docker.network.bridge.host_binding_ipv4": orNone(ip),
} as const;
const parent = orNone(ifName);
const macvlanMode = orNone(oneOf("bridge", "private", "vepa", "passthru"));
const ipvlanMode = orNone(oneOf("l2", "l3", "l3s"));
const vlan = number({ min: VLAN_MIN, max: VLAN_MAX });

const readCommon = object(common);
const readBridge = object(ofBridge);
const readParent = object({ parent, vlan, macvlan_mode: macvlanMode, ipvlan_mode: ipvlanMode });

const keysOf: { readonly [M in Network["mode"]]: readonly string[] } = {
  bridge: [...Object.keys(common), ...Object.keys(ofBridge)],
  macvlan: [...Object.keys(common), "parent", "macvlan_mode"],
  ipvlan: [...Object.keys(common), "parent", "ipvlan_mode"],
  vlan: [...Object.keys(common), "parent", "vlan"],
};

/** Where the options stand in a request. */
const AT = `Options["com.docker.network.generic"]`;

type Chosen<N> = N extends unknown ? Omit<N, "id" | "internal" | "subnets"> : never;

/** What the options say of a network. `id` names what has no name. @throws config/invalid with the key */
export function readOptions(raw: JsonObject, id: string): Chosen<Network> {
  const given = readCommon(raw, AT);
  const mode = given.mode ?? "bridge";
  const known = keysOf[mode];
  const folded = known.map(fold);
  for (const key of Object.keys(raw))
    if (!folded.includes(fold(key)))
      invalid(`${AT}.${key}`, `is no option of mode ${mode}; those are ${known.join(", ")}`);
  const mtuBytes = given["com.docker.network.driver.mtu"];
  if (mtuBytes !== undefined && mtuBytes > 0 && mtuBytes < 68)
    invalid(
      `${AT}["com.docker.network.driver.mtu"]`,
      `${mtuBytes} is less than 68, the least that IPv4 allows`,
    );
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
    bridge: o["com.docker.network.bridge.name"] ?? nameOf(`br-${id.slice(0, 12)}`),
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
      return { mode, parent, vlan: o.vlan, link: vlanLink(parent, o.vlan) } as const;
  }
}

/** The usual name of a VLAN's link, shortened where the kernel has no room for it. */
function vlanLink(parent: string, vlan: number): IfName {
  const ending = `.${vlan}`;
  return nameOf(parent.slice(0, IF_NAME_BYTES - ending.length) + ending);
}

function nameOf(word: string): IfName {
  const name = parseIfName(word);
  return name.ok ? name.value : invalid(AT, name.why);
}
