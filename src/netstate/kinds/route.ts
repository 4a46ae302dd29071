/** A route over a link: it goes with its link. */
import { NetError } from "../../errors.ts";
import { appendRoute, listRoutes, type Route } from "../../rtnl/route.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import type { RouteObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply({ kind: _, possession: __, place, link, ...route }: RouteObject, context: ApplyContext): void {
  appendRoute(socketAt(context.spaces, place), { ...route, oif: linkIndex(context, place, link) });
}

/** A route may have moved to another table (sbr, vrf) or got another metric since: that is no difference. */
const matches = (o: RouteObject, index: number, r: Route): boolean =>
  r.dst.text === o.dst.text &&
  (r.oif === undefined || r.oif === index) &&
  (o.gateway === undefined || r.gateway?.text === o.gateway.text);

function verify(o: RouteObject, context: Context): void {
  const routes = listRoutes(socketAt(context.spaces, o.place), o.dst.ip.family);
  const { index } = linkOf(context, o.place, o.link);
  if (!routes.some((r) => matches(o, index, r)))
    throw new NetError("check/differs", {
      what: `route to ${o.dst.text}`,
      wanted: o.gateway ? `via ${o.gateway.text} over ${o.link}` : `over ${o.link}`,
      found: "none",
    });
}

export const route: KindOperations<RouteObject> = { apply, verify, remove: () => {} };
