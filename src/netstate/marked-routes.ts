import { listRoutes, removeRoute } from "../rtnl/route.ts";
import { removeNeighbour } from "../rtnl/neighbour.ts";
import type { Context } from "./context.ts";
import { metricOf, ROUTE_PROTOCOL } from "./owner.ts";

/**
 * Routes of the host whose metric says whose they are, when the record is lost. The neighbours that they lead to go with
 * them: nobody else has the address on that link.
 */
export function removeMarkedRoutes({ mark, spaces: { host } }: Pick<Context, "mark" | "spaces">): void {
  const metric = metricOf(mark);
  for (const family of [4, 6] as const)
    for (const route of listRoutes(host, family)) {
      if (route.protocol !== ROUTE_PROTOCOL || route.priority !== metric) continue;
      removeRoute(host, route);
      if (route.oif !== undefined) removeNeighbour(host, { link: route.oif, ip: route.dst.ip });
    }
}
