import { linkTypeOf } from "../../rtnl/kinds.ts";
import { listAddresses } from "../../rtnl/address.ts";
import { listPortVlans } from "../../rtnl/bridge-vlan.ts";
import { listFilters } from "../../rtnl/filter.ts";
import { findLink, type Link, listLinks } from "../../rtnl/link.ts";
import { findQdisc } from "../../rtnl/qdisc.ts";
import { listRoutes, RT_TABLE_LOCAL } from "../../rtnl/route.ts";
import { burstOf } from "../../rtnl/token-bucket.ts";
import { isNetError } from "../../errors.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import type { Limit, ShownLink, ShownPort, Station } from "./description.ts";

/** Reads one link, with its addresses, routes and limits, for the description of an attachment. */
export interface Where {
  readonly socket: NetlinkSocket;
  readonly place: Station["place"];
  readonly by: Station["by"];
}

export interface Wanted {
  /** Routes over the link: all, only defaults, or none. */
  readonly routes: "all" | "default" | "none";
  /** Whose packets a limit on the link concerns, if its limits are asked for: those that it sends go there. */
  readonly sends?: Limit["direction"];
}

/** The station of a link that is not there. */
export const missingStation = ({ place, by }: Where, name: string): Station => ({
  place,
  by,
  link: null,
  name,
  addresses: [],
  routes: [],
  routingRules: [],
  limits: [],
  port: null,
  ports: null,
});

export function stationOf(where: Where, link: Link, { routes, sends }: Wanted): Station {
  const { socket } = where;
  return {
    ...missingStation(where, link.name),
    link: shownLink(link),
    addresses: listAddresses(socket, link.index).map((a) => ({
      address: a.prefix.text,
      linkLocal: a.linkLocal,
      state: a.dadFailed ? "duplicate" : a.tentative ? "tentative" : "usable",
    })),
    routes: routes === "none" ? [] : routesOver(socket, link, routes === "default"),
    limits: sends === undefined ? [] : limitsOf(socket, link, sends),
    port: link.port && link.master !== undefined ? portOf(socket, link, link.port, link.master) : null,
    ports: link.kind === "bridge" ? listLinks(socket).filter((l) => l.master === link.index).length : null,
  };
}

function shownLink(link: Link): ShownLink {
  const { kind = "device", ...parameters } = linkTypeOf(link) ?? {};
  return {
    index: link.index,
    name: link.name,
    kind: link.kind ?? (link.loopback ? "loopback" : kind),
    parameters: Object.fromEntries(
      Object.entries(parameters).filter(([, v]) => ["string", "number", "boolean"].includes(typeof v)),
    ),
    mac: link.mac ?? null,
    mtu: link.mtuBytes,
    up: link.up,
    operState: link.operState,
  };
}

const routesOver = (socket: NetlinkSocket, { index }: Link, onlyDefault: boolean): Station["routes"] =>
  [...listRoutes(socket, 4), ...listRoutes(socket, 6)]
    .filter((r) => r.oif === index && r.table !== RT_TABLE_LOCAL && (!onlyDefault || r.dst.bits === 0))
    .map((r) => ({
      dst: r.dst.bits === 0 ? "default" : r.dst.text,
      gateway: r.gateway?.text ?? null,
      src: r.src?.text ?? null,
      metric: r.priority ?? null,
      table: r.table,
    }));

function portOf(
  socket: NetlinkSocket,
  { index }: Link,
  { hairpin, isolated, forwarding }: NonNullable<Link["port"]>,
  master: number,
): ShownPort {
  const filters = findLink(socket, { index: master })?.bridge?.vlanFiltering === true;
  const vlans = filters ? vlansOf(socket, index, master) : undefined;
  return {
    hairpin,
    isolated,
    forwarding,
    vlan: vlans?.native ?? null,
    taggedVlans: vlans?.tagged ?? [],
  };
}

function vlansOf(socket: NetlinkSocket, index: number, master: number) {
  try {
    return listPortVlans(socket, master).get(index);
  } catch (e) {
    // The kernel has no VLANs of bridge ports.
    if (isNetError(e, "netlink/refused")) return undefined;
    throw e;
  }
}

const opposite = {
  "to the container": "from the container",
  "from the container": "to the container",
} as const;

/** What the link sends is shaped by its own queue; what it receives by that of a link which it is sent through. */
function limitsOf(socket: NetlinkSocket, link: Link, sends: Limit["direction"]): readonly Limit[] {
  const through = listFilters(socket, link.index).map((f) => f.redirectsTo);
  const shapers = [...new Set(through)].flatMap((index) => {
    const shaper = index === undefined ? undefined : findLink(socket, { index });
    return shaper === undefined ? [] : [shaper];
  });
  return [
    ...limitOn(socket, link, sends),
    ...shapers.flatMap((shaper) => limitOn(socket, shaper, opposite[sends])),
  ];
}

function limitOn(socket: NetlinkSocket, { index, name }: Link, direction: Limit["direction"]): Limit[] {
  const type = findQdisc(socket, index, "root")?.type;
  if (type?.kind !== "tbf") return [];
  return [{ direction, bitsPerSecond: type.rateBytes * 8, burstBytes: burstOf(type), on: name }];
}
