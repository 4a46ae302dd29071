import type { Family } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { findLink, type Link } from "../rtnl/link.ts";
import { listRoutes, type Route, RT_TABLE_MAIN } from "../rtnl/route.ts";
import { listRules, type RoutingRule } from "../rtnl/rule.ts";

/** What few plans have to know of routing, read by dumps; loaded when a plan asks for it. */
const families = [4, 6] as const;

export const allRoutes = (socket: NetlinkSocket): readonly Route[] =>
  families.flatMap((family) => listRoutes(socket, family));

export const allRules = (socket: NetlinkSocket): readonly RoutingRule[] =>
  families.flatMap((family) => listRules(socket, family));

/** The link of the default route with the lowest metric, of the first of the families that has one. */
export function findUplink(socket: NetlinkSocket, of: readonly Family[] = families): Link | undefined {
  for (const family of of) {
    const [first] = listRoutes(socket, family)
      .filter((r) => r.dst.bits === 0 && r.table === RT_TABLE_MAIN && r.oif !== undefined)
      .toSorted((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    if (first?.oif !== undefined) return findLink(socket, { index: first.oif });
  }
  return undefined;
}

/** The link, in the namespace of `there`, that the interface hangs on. */
export function findBelow(container: NetlinkSocket, name: string, there: NetlinkSocket): Link | undefined {
  const index = findLink(container, { name })?.peerIndex;
  return index === undefined ? undefined : findLink(there, { index });
}
