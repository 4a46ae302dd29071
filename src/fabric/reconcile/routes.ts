/**
 * Routes of the main table: ours are those with our protocol number, and whatever leads over a link of ours. What stands in
 * the place of a wanted one is replaced, so that no packet meets neither; but never a route of the kernel's own, which
 * is there because this host has an address in that network.
 */
import { NetError } from "../../errors.ts";
import { decodeRoutes, type NewRoute, type Route, routeAddition, RTM, routeDump } from "../../rtnl/route.ts";
import { routeProtocol, routeRemoval, routeReplacement, RT_TABLE_MAIN, TABLE_AT } from "../../rtnl/route.ts";
import { routeType } from "../../rtnl/route-lookup.ts";
import type { FabricRoute } from "../host-state.ts";
import type { KnownLinks } from "./place.ts";
import type { TableKind } from "./table.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Found = NewRoute & Pick<Route, "type" | "protocol">;

/** What the kernel gives to a route that names no metric: none in IPv4, and in IPv6 this one (IP6_RT_PRIO_USER). */
const IPV6_METRIC = 1024;
/** Routes that the kernel and its neighbours make by themselves. */
const byThemselves: readonly number[] = [
  routeProtocol.redirect,
  routeProtocol.kernel,
  routeProtocol.routerAdvertisement,
];

export function routeKind(protocol: number, wants: (dst: string) => boolean): TableKind<FabricRoute, Found> {
  const concerns = (route: Route, links: KnownLinks): boolean =>
    route.table === RT_TABLE_MAIN && (isOurs(route, links) || wants(route.dst.text));
  const isOurs = (route: Found, { ours }: KnownLinks): boolean =>
    route.protocol === protocol ||
    (route.oif !== undefined && ours.has(route.oif) && !byThemselves.includes(route.protocol));

  return {
    object: "route",
    keyOf: ({ dst }) => dst.text,
    keyOfFound: ({ dst, priority }) =>
      priority === undefined || (dst.ip.family === 6 && priority === IPV6_METRIC)
        ? dst.text
        : `${dst.text} metric ${priority}`,
    build({ dst, link, gateway, onLink, src }, { byName }) {
      const index = link === undefined ? undefined : byName.get(link)?.index;
      if (link === undefined) return { dst, protocol, type: routeType.blackhole };
      if (index === undefined) return undefined;
      const route: Mutable<Found> = { dst, oif: index, protocol, type: routeType.unicast };
      if (gateway !== undefined) route.gateway = gateway;
      if (onLink !== undefined) route.onLink = onLink;
      if (src !== undefined) route.src = src;
      return route;
    },
    list: ({ socket }, links) =>
      ([4, 6] as const).flatMap((family) =>
        routeDump(socket, family, RT_TABLE_MAIN).flatMap((message) => {
          const [route] = decodeRoutes(message);
          return route !== undefined && concerns(route, links) ? [route] : [];
        }),
      ),
    read(message, links) {
      const gone = message.type === RTM.DELROUTE;
      if (!gone && message.type !== RTM.NEWROUTE) return undefined;
      if (message.body[TABLE_AT] !== RT_TABLE_MAIN) return undefined;
      const [found] = decodeRoutes(message);
      return found !== undefined && concerns(found, links) ? { found, gone } : undefined;
    },
    fits: (built, found, { ours }) =>
      sameWay(built, found) &&
      built.src?.text === found.src?.text &&
      (found.protocol === protocol || (found.oif !== undefined && ours.has(found.oif))),
    isSame: (gone, there) => sameWay(gone, there) && gone.protocol === there.protocol,
    isOurs,
    put(built, instead) {
      if (instead === undefined) return routeAddition(built);
      if (byThemselves.includes(instead.protocol))
        return new NetError("resource/exists", {
          what: `a route to ${built.dst.text} that this host has by an address of its own`,
          where: "the main routing table",
        });
      return routeReplacement(built);
    },
    remove: routeRemoval,
    goneErrors: ["ESRCH", "ENODEV"],
  };
}

/** A hole leads nowhere, though IPv6 shows it on the loopback. */
const sameWay = (a: Found, b: Found): boolean =>
  a.type === b.type &&
  (a.type !== routeType.unicast ||
    (a.oif === b.oif && a.gateway?.text === b.gateway?.text && a.onLink === b.onLink));
