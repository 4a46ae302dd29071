/** A route over a link. It goes with its link; one over a link that stays is removed by what it says. */
import { NetError } from "../../errors.ts";
import {
  appendRoute,
  listRoutes,
  type NewRoute,
  removeRoute,
  type Route,
  RT_TABLE_MAIN,
} from "../../rtnl/route.ts";
import { findLink } from "../../rtnl/link.ts";
import { type ApplyContext, type Context, type KindOperations, linkIndex, linkOf } from "../context.ts";
import type { RouteObject } from "../model.ts";
import { metricOf, ROUTE_PROTOCOL } from "../owner.ts";
import { socketAt } from "../spaces.ts";

function apply(o: RouteObject, context: ApplyContext): void {
  const oif = linkIndex(context, o.place, o.link);
  if (outlivesLink(o)) context.undo.defer(() => remove(o, context));
  appendRoute(socketAt(context.spaces, o.place), wanted(o, oif, context.mark));
}

const outlivesLink = (o: RouteObject): boolean => o.marked === true || o.foreignLink === true;

function wanted(o: RouteObject, oif: number, mark: string): NewRoute {
  const { kind: _, possession: __, place: ___, link: ____, marked, foreignLink: _____, ...route } = o;
  return marked ? { ...route, oif, protocol: ROUTE_PROTOCOL, priority: metricOf(mark) } : { ...route, oif };
}

/**
 * A route of this plugin's own link may have moved to another table (sbr, vrf) or got another metric since: that is no
 * difference.
 */
const matches = (o: RouteObject, index: number, r: Route): boolean =>
  r.dst.text === o.dst.text &&
  (r.oif === undefined || r.oif === index) &&
  (!o.foreignLink || r.table === (o.table ?? RT_TABLE_MAIN)) &&
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

function remove(o: RouteObject, { mark, spaces }: Context): void {
  if (!outlivesLink(o) || (o.place === "container" && spaces.container === undefined)) return;
  const socket = socketAt(spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link !== undefined) removeRoute(socket, wanted(o, link.index, mark));
}

export const route: KindOperations<RouteObject> = { apply, verify, remove };
