/**
 * Bridges: by which ports a frame leaves one, and what stops it there: the state of ports, isolation, VLANs, chains of the
 * bridge's family, and, where br_netfilter is on, the chains of IP.
 */
import type { Family, Ip } from "../../net/ip.ts";
import { type Mac, macToBytes } from "../../net/mac.ts";
import { isNetError } from "../../errors.ts";
import { asHost32, known, splice } from "../../nft/eval/bits.ts";
import { destinationOf, familyOf, sourceOf } from "../../nft/eval/packet.ts";
import { type FoundVlans, listVlans } from "../../rtnl/bridge-vlan.ts";
import { listForwarding } from "../../rtnl/forwarding-entry.ts";
import type { Link } from "../../rtnl/link.ts";
import { lookUpFlow, routeType } from "../../rtnl/route-lookup.ts";
import type { PortDetails } from "../../rtnl/link-details.ts";
import { passBridge } from "./chains.ts";
import { above, destinationMac, emit, isForMany } from "./frames.ts";
import { passHook } from "./hooks.ts";
import { type Arrival, hindered, type Journey, noted, type Path, withPassage } from "./journey.ts";
import { resolve } from "./neighbours.ts";
import { fibOf, interfaceOf, ownAddressOf } from "./own.ts";
import type { Place, Space } from "./realm.ts";

/** Whether the chains of IP see what this bridge forwards. */
function callsIptables({ space, link }: Place, family: Family | undefined): boolean {
  if (family === undefined) return false;
  const key = `net/bridge/bridge-nf-call-ip${family === 4 ? "" : "6"}tables`;
  const sysctl = space.sysctl(key);
  // Without the module nothing is called, whatever the bridge itself says.
  return sysctl !== undefined && (sysctl === "1" || space.details(link.index)?.netfilter?.[family] === true);
}

const portsOf = ({ space, link }: Place): readonly Link[] =>
  space.links().filter((l) => l.master === link.index);
const portOf = (space: Space, link: Link): PortDetails | undefined => space.details(link.index)?.port;

/** The frame comes in by a port. */
export function bridgeIn(j: Journey, bridge: Place, port: Link, before: Path): readonly Arrival[] {
  const { space, link } = bridge;
  let path = noted(before, space, "bridge", `into ${link.name} by its port ${port.name}`);
  path = { ...path, entered: [...path.entered, { bridge: keyOf(bridge), port: port.index }] };
  const details = portOf(space, port);
  if (!link.up) path = hindered(path, space, `bridge ${link.name} is down`);
  if (details?.forwarding !== true)
    path = hindered(path, space, `port ${port.name} of ${link.name} does not forward`);
  if (details?.special)
    path = hindered(path, space, `port ${port.name} of ${link.name} answers or locks by itself`, false);
  path = intoVlan(bridge, port, path);
  path = passBridge(space, { hook: "prerouting", bridge: link, iif: port }, path);
  const family = familyOf(path.skb.packet);
  const calls = callsIptables(bridge, family);
  if (calls && family) {
    const asked = destinationOf(path.skb.packet);
    path = withPassage(path, space, ipHook(j, bridge, "prerouting", family, path));
    const to = destinationOf(path.skb.packet);
    if (to && asked && to.text !== asked.text) return redirected(j, bridge, port, path, to);
  }
  return towards(j, bridge, port, path, calls);
}

/**
 * Its destination was translated on the bridge (br_nf_pre_routing_finish): where routing leads back over the bridge, the frame
 * stays on it, for the hardware address of the new destination; else the bridge takes it for itself.
 */
function redirected(j: Journey, bridge: Place, port: Link, path: Path, to: Ip): readonly Arrival[] {
  const { space, link } = bridge;
  const from = sourceOf(path.skb.packet);
  const mark = asHost32(path.skb.mark);
  const question = { to, ...(from ? { from } : {}), ...(mark ? { mark } : {}), iif: link.index };
  const answer = lookUpFlow(space.route, question);
  if (answer.kind === "refused") {
    const text = `${link.name} finds no way to ${to.text}, to which it was translated`;
    return [{ kind: "lost", ...bridge, path: hindered(path, space, text) }];
  }
  if (answer.route.oif !== link.index || answer.route.type !== routeType.unicast)
    return up(j, bridge, port, path, true);
  const nextHop = answer.route.gateway ?? to;
  const own = space.addresses().find((a) => a.index === link.index && a.prefix.ip.family === to.family);
  const resolved = resolve(j, bridge, own?.prefix.ip ?? to, nextHop);
  if (resolved.kind !== "known")
    return [
      { kind: "lost", ...bridge, path: hindered(path, space, resolved.text, resolved.kind === "silent") },
    ];
  const { packet } = path.skb;
  const told = noted(path, space, "neighbour", resolved.text);
  const turned = packet.link && { ...packet, link: splice(packet.link, 0, known(macToBytes(resolved.mac))) };
  return towards(j, bridge, port, { ...told, skb: { ...path.skb, packet: turned ?? packet } }, true);
}

/** The frame is sent by the bridge itself. */
export function bridgeOut(j: Journey, bridge: Place, path: Path): readonly Arrival[] {
  return towards(j, bridge, undefined, vlanOfBridge(bridge, path), false);
}

/** Frames of a bridge that keeps VLANs apart belong to its own. */
function vlanOfBridge(bridge: Place, path: Path): Path {
  const { space, link } = bridge;
  if (link.bridge?.vlanFiltering !== true) return path;
  const own = vlansOf(bridge).get(link.index);
  const vlan = path.vlan ?? own?.native;
  if (vlan !== undefined && own?.all.has(vlan)) return { ...path, vlan };
  return hindered(
    path,
    space,
    `${link.name} itself is not in ${vlan === undefined ? "a VLAN" : `VLAN ${vlan}`}`,
  );
}

const keyOf = ({ space, link }: Place): string => `${space.id} ${link.index}`;
export const learnedKey = (bridge: string, mac: Mac): string => `${bridge} ${mac}`;

function towards(
  j: Journey,
  bridge: Place,
  from: Link | undefined,
  path: Path,
  calls: boolean,
): readonly Arrival[] {
  const { space, link } = bridge;
  const mac = destinationMac(path);
  const others = portsOf(bridge).filter((p) => p.index !== from?.index);
  if (mac !== undefined && isForMany(mac)) {
    const ownToo = from === undefined ? [] : up(j, bridge, from, path, calls);
    return [...ownToo, ...others.flatMap((p) => toPort(j, bridge, from, p, path, calls))];
  }
  const entries =
    mac === undefined ? [] : listForwarding(space.route, link.index).filter((e) => e.mac === mac);
  const isOwn = mac === link.mac || entries.some((e) => e.kind === "local");
  if (isOwn && from !== undefined) return up(j, bridge, from, path, calls);
  const learned = mac && j.learned.get(learnedKey(keyOf(bridge), mac));
  const port = entries.find((e) => e.kind === "static")?.port ?? learned ?? entries[0]?.port;
  const known = portsOf(bridge).find((p) => p.index === port);
  if (known) return toPort(j, bridge, from, known, path, calls);
  const flooded = noted(path, space, "bridge", `${link.name} has no entry for ${mac ?? "it"}: by all ports`);
  return others.flatMap((p) => toPort(j, bridge, from, p, flooded, calls));
}

function toPort(
  j: Journey,
  bridge: Place,
  from: Link | undefined,
  port: Link,
  before: Path,
  calls: boolean,
): readonly Arrival[] {
  const { space, link } = bridge;
  let path = noted(before, space, "bridge", `out of ${link.name} by its port ${port.name}`);
  const out = portOf(space, port);
  if (from?.index === port.index && out?.hairpin !== true)
    path = hindered(path, space, `port ${port.name} of ${link.name} sends nothing back (no hairpin)`);
  if (out?.forwarding !== true)
    path = hindered(path, space, `port ${port.name} of ${link.name} does not forward`);
  if (from && portOf(space, from)?.isolated && out?.isolated)
    path = hindered(
      path,
      space,
      `ports ${from.name} and ${port.name} of ${link.name} are isolated from each other`,
    );
  path = outOfVlan(bridge, port, path);
  const ends = { bridge: link, ...(from ? { iif: from } : {}), oif: port };
  path = passBridge(space, { hook: from ? "forward" : "output", ...ends }, path);
  const family = familyOf(path.skb.packet);
  if (calls && family && from) path = withPassage(path, space, ipHook(j, bridge, "forward", family, path));
  path = passBridge(space, { hook: "postrouting", ...ends }, path);
  if (calls && family && from)
    path = withPassage(path, space, ipHook(j, bridge, "postrouting", family, path));
  return emit(j, { space, link: port }, path);
}

/** The frame is for the host itself. */
function up(j: Journey, bridge: Place, from: Link, path: Path, prerouted: boolean): readonly Arrival[] {
  const { space, link } = bridge;
  const on = passBridge(space, { hook: "input", bridge: link, iif: from }, path);
  return above(j, bridge, untagged(bridge, on)).map((a) =>
    prerouted && a.kind === "stack" && a.link.index === link.index ? { ...a, prerouted: true } : a,
  );
}

/** What the bridge itself gets of a VLAN: with its tag, or, of its native one, without. */
function untagged(bridge: Place, path: Path): Path {
  const { space, link } = bridge;
  if (path.vlan === undefined || link.bridge?.vlanFiltering !== true) return path;
  const own = vlansOf(bridge).get(link.index);
  const { vlan, ...rest } = path;
  if (own?.all.has(vlan) !== true) return hindered(path, space, `${link.name} itself is not in VLAN ${vlan}`);
  return own.tagged.includes(vlan) ? path : rest;
}

/** The hooks of IP as br_netfilter calls them: the bridge is where the packet comes from and goes to. */
function ipHook(
  j: Journey,
  { space, link }: Place,
  hook: "prerouting" | "forward" | "postrouting",
  family: Family,
  path: Path,
): ReturnType<typeof passHook> {
  const own = interfaceOf(link);
  const sides =
    hook === "prerouting" ? { iif: own } : hook === "forward" ? { iif: own, oif: own } : { oif: own };
  const to = destinationOf(path.skb.packet);
  return passHook(
    space,
    {
      hook,
      family,
      ...sides,
      ownAddress: (kind) => ownAddressOf(space, kind, { family, hook, link, ...(to ? { nextHop: to } : {}) }),
      fib: fibOf(space, sides),
    },
    j.connections,
    path.skb,
  );
}

function vlansOf({ space, link }: Place): ReadonlyMap<number, FoundVlans> {
  try {
    return listVlans(space.route, link.index);
  } catch (e) {
    if (isNetError(e, "netlink/refused")) return new Map();
    throw e;
  }
}

function intoVlan(bridge: Place, port: Link, path: Path): Path {
  const { space, link } = bridge;
  if (link.bridge?.vlanFiltering !== true) return path;
  const vlans = vlansOf(bridge).get(port.index);
  const vlan = path.vlan ?? vlans?.native;
  if (vlan === undefined)
    return hindered(path, space, `port ${port.name} of ${link.name} has no VLAN for frames without a tag`);
  const on = { ...path, vlan };
  return vlans?.all.has(vlan) === true
    ? on
    : hindered(on, space, `port ${port.name} of ${link.name} is not in VLAN ${vlan}`);
}

function outOfVlan(bridge: Place, port: Link, path: Path): Path {
  const { space, link } = bridge;
  if (link.bridge?.vlanFiltering !== true || path.vlan === undefined) return path;
  const vlans = vlansOf(bridge).get(port.index);
  const { vlan, ...rest } = path;
  if (vlans?.all.has(vlan) !== true)
    return hindered(path, space, `port ${port.name} of ${link.name} is not in VLAN ${vlan}`);
  return vlans.tagged.includes(vlan) ? path : rest;
}
