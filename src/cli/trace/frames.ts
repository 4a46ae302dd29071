/**
 * Frames: over which links one goes that is sent by a link, and where it arrives. A frame for everybody arrives at many places.
 * What would stop it on its way is noted on the path and does not end it: so the reason for a frame that does not arrive can
 * be told.
 */
import { ipFromBytes } from "../../net/ip.ts";
import { type Mac, macFromBytes, macToBytes } from "../../net/mac.ts";
import { isKnown, slice } from "../../nft/eval/bits.ts";
import { destinationOf, etherTypes, familyOf } from "../../nft/eval/packet.ts";
import { linkTypeOf } from "../../rtnl/kinds.ts";
import { listFilters } from "../../rtnl/filter.ts";
import type { Link } from "../../rtnl/link.ts";
import { findQdisc } from "../../rtnl/qdisc.ts";
import { isNetError } from "../../errors.ts";
import { countLinkPrograms } from "../../sys/bpf.ts";
import { bridgeIn, bridgeOut } from "./bridge.ts";
import { passDevice } from "./chains.ts";
import { type Arrival, hindered, type Journey, noted, type Path } from "./journey.ts";
import type { Place, Space } from "./realm.ts";

/** A loop of links would go on for ever. */
const MOST_HOPS = 32;

/** Where the frame is for; undefined on links without hardware addresses. */
export function destinationMac({ skb }: Path): Mac | undefined {
  const bits = skb.packet.link && slice(skb.packet.link, 0, 6);
  return bits && isKnown(bits) ? macFromBytes(bits.bytes) : undefined;
}
/** The lowest bit of the first byte: for more than one. */
export const isForMany = (mac: Mac): boolean => ((macToBytes(mac)[0] ?? 0) & 1) === 1;

/** The frame is sent by the link. */
export function emit(j: Journey, { space, link }: Place, before: Path): readonly Arrival[] {
  if (before.hops > MOST_HOPS)
    return [{ kind: "lost", space, link, path: hindered(before, space, `a loop of links at ${link.name}`) }];
  const path = leaving(space, link, { ...before, hops: before.hops + 1 });
  switch (link.kind) {
    case "veth":
      return toPeer(j, { space, link }, path);
    case "bridge":
      return bridgeOut(j, { space, link }, path);
    case "macvlan":
    case "macvtap":
      return overMacvlan(j, { space, link }, path);
    case "ipvlan":
      if (modeOf(link) === "l2") return overIpvlan(j, { space, link }, path);
      return [beyondKind({ space, link }, path)];
    case "vlan":
      return overVlan(j, { space, link }, path);
    case "dummy":
      return [
        {
          kind: "lost",
          space,
          link,
          path: hindered(path, space, `${link.name} is a dummy and swallows what is sent`),
        },
      ];
    case undefined:
    case "bond":
    case "team":
      return [{ kind: "beyond", space, link, path, text: "the network behind it" }];
    default:
      return [beyondKind({ space, link }, path)];
  }
}

/** Tunnels, and what programs hold the other end of. */
const beyondKind = ({ space, link }: Place, path: Path): Arrival => ({
  kind: "beyond",
  space,
  link,
  path: hindered(path, space, `what ${link.name} (${link.kind ?? "device"}) does with it`, false),
  text: `what is behind ${link.kind ?? link.name}`,
});

function leaving(space: Space, link: Link, path: Path): Path {
  let on = noted(path, space, "link", `sent by ${link.name}${link.kind ? ` (${link.kind})` : ""}`);
  if (!link.up) on = hindered(on, space, `link ${link.name} is down`);
  else if (space.details(link.index)?.running === false && link.kind !== "bridge")
    on = hindered(on, space, `link ${link.name} has no carrier`);
  return withFilters(space, link, "sent", passDevice(space, link, "egress", on));
}

/** Programs and filters that look at what a link receives or sends. Redirecting through a queue of ours changes nothing. */
function withFilters(space: Space, link: Link, point: "received" | "sent", path: Path): Path {
  const priorities = Map.groupBy(filtersOn(space, link, point), (f) => f.priority);
  let on = path;
  for (const filters of priorities.values()) {
    const to = filters.find((f) => f.redirectsTo !== undefined)?.redirectsTo;
    const queue = to === undefined ? undefined : space.links().find((l) => l.index === to);
    if (queue?.kind === "ifb") on = noted(on, space, "link", `shaped by ${queue.name}`);
    else
      on = hindered(
        on,
        space,
        `a tc filter (${filters[0]?.kind ?? ""}) on what ${link.name} has ${point}`,
        false,
      );
  }
  const programs = space.within(() => countLinkPrograms(link.index, point));
  if (programs !== undefined && programs > 0)
    on = hindered(on, space, `an eBPF program (tcx) on what ${link.name} has ${point}`, false);
  const root = point === "sent" ? findQdisc(space.route, link.index, "root")?.type : undefined;
  const name = root?.kind === "opaque" ? root.name : undefined;
  return name === "netem" ? hindered(on, space, `the qdisc netem on ${link.name}`, false) : on;
}

function filtersOn(space: Space, link: Link, point: "received" | "sent"): ReturnType<typeof listFilters> {
  try {
    return listFilters(space.route, link.index, point);
  } catch (e) {
    // A kernel without filters has none.
    if (isNetError(e, "netlink/refused")) return [];
    throw e;
  }
}

/** The namespace that a link's other end or lower link is in; undefined: it is not to be seen. */
const spaceOfPeer = (j: Journey, { space, link }: Place): Space | undefined =>
  link.peerNetnsId === undefined ? space : j.realm.numbered(space, link.peerNetnsId);

function peerOf(j: Journey, at: Place): Place | undefined {
  const space = spaceOfPeer(j, at);
  const link = space?.links().find((l) => l.index === at.link.peerIndex);
  return space && link ? { space, link } : undefined;
}

function toPeer(j: Journey, at: Place, path: Path): readonly Arrival[] {
  const peer = peerOf(j, at);
  if (peer === undefined)
    return [{ kind: "beyond", ...at, path, text: "a namespace that is not to be seen" }];
  return intake(j, peer, crossing(path, at.space, peer.space));
}

/** Marks stay in their namespace; connections are tracked by each for itself. */
export function crossing(path: Path, from: Space, to: Space): Path {
  const { tracking: _t, untracked: _u, ...rest } = path.skb;
  return { ...path, skb: from === to ? rest : { ...rest, mark: NO_MARK } };
}
const NO_MARK = { bytes: new Uint8Array(4), known: new Uint8Array(4).fill(0xff) };

/** Macvlans speak with those beside them, and with what is behind the link below; never with that link itself. */
function overMacvlan(j: Journey, at: Place, path: Path): readonly Arrival[] {
  const lower = peerOf(j, at);
  if (lower === undefined)
    return [{ kind: "beyond", ...at, path, text: "a link in a namespace that is not to be seen" }];
  const mac = destinationMac(path);
  const isBridge = ({ link }: Place): boolean => modeOf(link) === "bridge";
  const beside = isBridge(at)
    ? j.realm.above(lower.space, lower.link).filter((p) => p.link !== at.link && isBridge(p))
    : [];
  const one = beside.find((p) => p.link.mac === mac);
  if (one) return intake(j, one, crossing(path, at.space, one.space));
  const out = crossing(
    noted(path, at.space, "link", `over ${lower.link.name} of ${lower.space.name}`),
    at.space,
    lower.space,
  );
  return [
    ...(mac === undefined || isForMany(mac)
      ? beside.flatMap((p) => intake(j, p, crossing(path, at.space, p.space)))
      : []),
    ...emit(j, lower, out),
  ];
}

function modeOf(link: Link): string | undefined {
  const type = linkTypeOf(link);
  return type !== undefined && "mode" in type ? type.mode : undefined;
}

/**
 * Ipvlans of mode l2 have the hardware address of the link below, and are told apart by whose address a packet is for. What
 * is for that hardware address and for none of them goes to the link below itself; nothing else that they send does.
 */
function overIpvlan(j: Journey, at: Place, path: Path): readonly Arrival[] {
  const lower = peerOf(j, at);
  if (lower === undefined)
    return [{ kind: "beyond", ...at, path, text: "a link in a namespace that is not to be seen" }];
  const mac = destinationMac(path);
  const beside = j.realm
    .above(lower.space, lower.link)
    .filter((p) => p.link !== at.link && p.link.kind === "ipvlan");
  if (mac !== undefined && mac === at.link.mac) {
    const one = beside.find((p) => isFor(p, path));
    if (one) return intake(j, one, crossing(path, at.space, one.space));
    return [{ kind: "stack", ...lower, path: crossing(path, at.space, lower.space) }];
  }
  const out = noted(path, at.space, "link", `over ${lower.link.name} of ${lower.space.name}`);
  return [
    ...(mac === undefined || isForMany(mac)
      ? beside.flatMap((p) => intake(j, p, crossing(path, at.space, p.space)))
      : []),
    ...emit(j, lower, crossing(out, at.space, lower.space)),
  ];
}

/** Where in ARP the address stands that is asked for, or that is answered. */
const ARP_TARGET = 24;

/** Whether the packet is for an address of this link. */
function isFor({ space, link }: Place, { skb: { packet } }: Path): boolean {
  const target = packet.etherType === etherTypes.arp ? slice(packet.network, ARP_TARGET, 4) : undefined;
  const to = target ? (isKnown(target) ? ipFromBytes(target.bytes) : undefined) : destinationOf(packet);
  return space.addresses().some((a) => a.index === link.index && a.prefix.ip.text === to?.text);
}

function overVlan(j: Journey, at: Place, path: Path): readonly Arrival[] {
  const lower = peerOf(j, at);
  const type = linkTypeOf(at.link);
  if (type?.kind !== "vlan")
    return [{ kind: "lost", ...at, path: hindered(path, at.space, `${at.link.name} is no VLAN`) }];
  const tagged = noted({ ...path, vlan: type.id }, at.space, "link", `in VLAN ${type.id}`);
  if (lower === undefined)
    return [{ kind: "beyond", ...at, path: tagged, text: "a link in a namespace that is not to be seen" }];
  return emit(j, lower, crossing(tagged, at.space, lower.space));
}

/** The frame is received by the link. */
export function intake(j: Journey, at: Place, before: Path): readonly Arrival[] {
  const { space, link } = at;
  let path = before;
  if (!link.up) path = hindered(path, space, `link ${link.name} is down`);
  if (space.details(link.index)?.xdp === true)
    path = hindered(path, space, `an XDP program on ${link.name}`, false);
  const passed = passDevice(space, link, "ingress", withFilters(space, link, "received", path));
  const master = link.master === undefined ? undefined : space.links().find((l) => l.index === link.master);
  if (master?.kind === "bridge") return bridgeIn(j, { space, link: master }, link, passed);
  if (master?.kind === "bond" || master?.kind === "team") return intake(j, { space, link: master }, passed);
  const bound =
    master === undefined
      ? passed
      : hindered(
          passed,
          space,
          `${link.name} belongs to ${master.name} (${master.kind ?? "unknown"})`,
          false,
        );
  return above(j, at, bound);
}

/** To the links that stand on it, or to its own network layer. */
export function above(j: Journey, at: Place, path: Path): readonly Arrival[] {
  const { space, link } = at;
  const standing = j.realm.above(space, link);
  if (path.vlan !== undefined) {
    const child = standing.find((p) => isVlan(p.link, path.vlan));
    const { vlan: _, ...untagged } = path;
    if (child) return intake(j, child, crossing(untagged, space, child.space));
    return [{ kind: "lost", ...at, path: hindered(path, space, `${link.name} has no VLAN ${path.vlan}`) }];
  }
  const mac = destinationMac(path);
  const many = mac === undefined || isForMany(mac);
  const macvlans = standing.filter((p) => p.link.kind === "macvlan" || p.link.kind === "macvtap");
  const passthru = macvlans.find((p) => modeOf(p.link) === "passthru");
  if (passthru) return intake(j, passthru, crossing(path, space, passthru.space));
  const chosen = many ? macvlans : macvlans.filter((p) => p.link.mac === mac);
  const arrivals = chosen.flatMap((p) => intake(j, p, crossing(path, space, p.space)));
  if (!many && chosen.length > 0) return arrivals;
  const ipvlans = standing.filter((p) => p.link.kind === "ipvlan");
  const shared = many ? ipvlans : mac === link.mac ? ipvlans.filter((p) => isFor(p, path)) : [];
  arrivals.push(...shared.flatMap((p) => intake(j, p, crossing(path, space, p.space))));
  if (!many && shared.length > 0) return arrivals;
  const isPlain = ipvlans.every((p) => modeOf(p.link) === "l2");
  const own = isPlain ? path : hindered(path, space, `links of kind ipvlan on ${link.name}`, false);
  // What is for another hardware address is not taken.
  return many || mac === link.mac || familyOf(path.skb.packet) === undefined
    ? [...arrivals, { kind: "stack", ...at, path: own }]
    : arrivals;
}

const isVlan = (link: Link, id: number | undefined): boolean => {
  const type = linkTypeOf(link);
  return type?.kind === "vlan" && type.id === id;
};
