import type { NetlinkSocket } from "../../netlink/socket.ts";
import { findLink, type Link } from "../../rtnl/link.ts";
import { namespaceNumber } from "../../rtnl/nsid.ts";
import { listRules, type RoutingRule } from "../../rtnl/rule.ts";
import { OWN_NETNS } from "../../netstate/alive.ts";
import { findHostEnd } from "../../netstate/host-end.ts";
import { findUplink } from "../../netstate/routing-facts.ts";
import type { Spaces } from "../../netstate/spaces.ts";
import { openNetns } from "../../sys/netns.ts";
import type { Station } from "./description.ts";
import { missingStation, stationOf, type Where } from "./station.ts";

/**
 * Follows an attachment from the container's interface to the uplink by what the kernel says of links and routes: the
 * other end of a pair, the bridge that it is a port of, the link below a macvlan, the link of the default route.
 */
export interface PathOf {
  readonly spaces: Spaces;
  readonly ifname: string;
  /** `by others`: the container's interface has the name that another program gave it, and is found by its mark. */
  readonly named: "by us" | "by others";
  /** The marks that the attachment's own links may carry, for what is left when the container is gone. */
  readonly marks: readonly string[];
  /** Interfaces of the host that the records name as gateways beside the bridge. */
  readonly gateways: readonly string[];
}

export function followPath({ spaces, ifname, named, marks, gateways }: PathOf): readonly Station[] {
  const { host, container } = spaces;
  const stations: Station[] = [];
  let outside: Link | undefined;
  let by: "pair" | "below" = "pair";
  if (container === undefined) outside = ownLink(spaces, marks);
  else {
    const where: Where = { socket: container.socket, place: "container", by: "start" };
    const inside =
      named === "by us" ? findLink(container.socket, { name: ifname }) : movedLink(spaces, marks);
    if (inside === undefined) stations.push(missingStation(where, ifname));
    else
      stations.push({
        ...stationOf(where, inside, { routes: "all", sends: "from the container" }),
        routingRules: routingRulesOf(spaces),
      });
    outside = (inside && findHostEnd(spaces, inside)) ?? ownLink(spaces, marks);
    if (outside === undefined && inside !== undefined) {
      outside = lowerInHost(spaces, inside);
      by = "below";
    }
  }
  if (outside !== undefined) {
    const pair = by === "pair";
    const where: Where = { socket: host, place: "host", by };
    stations.push(
      stationOf(where, outside, pair ? { routes: "all", sends: "to the container" } : { routes: "default" }),
    );
    stations.push(...(pair ? behindPair(spaces, outside, gateways) : below(spaces, outside)));
  }
  return stations;
}

/** What is behind the host's end of a pair: the bridge, its gateway, and the uplink of each family. */
function behindPair({ host }: Spaces, end: Link, gateways: readonly string[]): readonly Station[] {
  const stations: Station[] = [];
  const master = end.master === undefined ? undefined : findLink(host, { index: end.master });
  if (master !== undefined)
    stations.push(stationOf({ socket: host, place: "host", by: "port" }, master, { routes: "default" }));
  for (const name of gateways) {
    const where: Where = { socket: host, place: "host", by: "gateway" };
    const gateway = findLink(host, { name });
    stations.push(
      gateway === undefined ? missingStation(where, name) : stationOf(where, gateway, { routes: "none" }),
    );
  }
  // Where the host has no address nothing is routed by it.
  const routed = master === undefined || stations.some((s) => s.addresses.some((a) => !a.linkLocal));
  if (!routed) return stations;
  const seen = new Set([end.index, master?.index]);
  for (const family of [4, 6] as const) {
    const uplink = findUplink(host, [family]);
    if (uplink === undefined || seen.has(uplink.index)) continue;
    seen.add(uplink.index);
    stations.push(stationOf({ socket: host, place: "host", by: "route" }, uplink, { routes: "default" }));
  }
  return stations;
}

/** What the lower link itself hangs on in the host, as a VLAN on a device does. */
function below({ host }: Spaces, lower: Link): readonly Station[] {
  const stations: Station[] = [];
  const seen = new Set<number>();
  for (let link: Link | undefined = lower; link !== undefined && !seen.has(link.index);) {
    seen.add(link.index);
    const hangs: boolean =
      link.peerIndex !== undefined && link.peerNetnsId === undefined && link.kind !== "veth";
    link = hangs && link.peerIndex !== undefined ? findLink(host, { index: link.peerIndex }) : undefined;
    if (link !== undefined)
      stations.push(stationOf({ socket: host, place: "host", by: "below" }, link, { routes: "default" }));
  }
  return stations;
}

const ownLink = ({ host }: Spaces, marks: readonly string[]): Link | undefined => marked(host, marks);

function marked(socket: NetlinkSocket, marks: readonly string[]): Link | undefined {
  for (const altName of marks) {
    const link = findLink(socket, { altName });
    if (link !== undefined) return link;
  }
  return undefined;
}

/** A link takes its mark along; of a pair the end in the host has it, and tells the other one. */
function movedLink({ host, container }: Spaces, marks: readonly string[]): Link | undefined {
  if (container === undefined) return undefined;
  const end = marked(host, marks);
  if (end?.peerIndex === undefined) return marked(container.socket, marks);
  if (end.peerNetnsId !== namespaceNumber(host, container.netns.fd)) return undefined;
  return findLink(container.socket, { index: end.peerIndex });
}

/** The link of the host that the container's hangs on. */
function lowerInHost({ host, container }: Spaces, inside: Link): Link | undefined {
  if (container === undefined || inside.kind === "veth" || inside.peerIndex === undefined) return undefined;
  using home = openNetns(OWN_NETNS);
  // Without a number the lower link is in the same namespace.
  if (inside.peerNetnsId === undefined || inside.peerNetnsId !== namespaceNumber(container.socket, home.fd))
    return undefined;
  return findLink(host, { index: inside.peerIndex });
}

/** Priorities of the kernel's own rules. */
const KERNELS: readonly number[] = [0, 32766, 32767];

/** Rules of the container that lead to other tables than the usual ones. */
function routingRulesOf({ container }: Spaces): readonly string[] {
  if (container === undefined) return [];
  const rules = [...listRules(container.socket, 4), ...listRules(container.socket, 6)];
  return rules.filter((r) => !KERNELS.includes(r.priority)).map(showRule);
}

/** As `ip rule` prints it. */
function showRule(r: RoutingRule): string {
  const words = [
    `${r.priority}:`,
    ...(r.invert ? ["not"] : []),
    `from ${r.src?.text ?? "all"}`,
    ...(r.dst ? [`to ${r.dst.text}`] : []),
    ...(r.iif === undefined ? [] : [`iif ${r.iif}`]),
    ...(r.oif === undefined ? [] : [`oif ${r.oif}`]),
    ...(r.mark ? [`fwmark 0x${r.mark.value.toString(16)}`] : []),
    r.action === undefined ? `lookup ${r.table}` : `action ${r.action}`,
  ];
  return words.join(" ");
}
