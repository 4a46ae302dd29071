/** A route of another plugin's link that is out of its table while the attachment lives. It goes for good with its link. */
import { isNetError, NetError } from "../../errors.ts";
import { findLink } from "../../rtnl/link.ts";
import { appendRoute, listRoutes, removeRoute } from "../../rtnl/route.ts";
import {
  type ApplyContext,
  type Context,
  type KindOperations,
  linkIndex,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import type { TakenRouteObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply(o: TakenRouteObject, context: ApplyContext): void {
  const oif = linkIndex(context, o.place, o.link);
  context.borrow(o, "there");
  context.undo.defer(() => putBack(o, context));
  removeRoute(socketAt(context.spaces, o.place), { ...o.route, oif });
}

/** What the kernel answers where a route has become impossible: its address or its link's state has changed since. */
const IMPOSSIBLE = ["EINVAL", "ENETDOWN", "ENETUNREACH", "EHOSTUNREACH"];

function putBack(o: TakenRouteObject, { spaces }: Context): void {
  if (o.place === "container" && spaces.container === undefined) return;
  const socket = socketAt(spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link === undefined) return;
  try {
    appendRoute(socket, { ...o.route, oif: link.index });
  } catch (e) {
    if (!isNetError(e, "netlink/refused") || !IMPOSSIBLE.includes(e.detail.errno)) throw e;
  }
}

function remove(o: TakenRouteObject, context: RemoveContext): void {
  if (context.borrowed(o) !== undefined) putBack(o, context);
}

function verify({ place, link, route }: TakenRouteObject, context: Context): void {
  const { index } = linkOf(context, place, link);
  const there = listRoutes(socketAt(context.spaces, place), route.dst.ip.family).some(
    (r) =>
      r.oif === index &&
      r.table === route.table &&
      r.dst.text === route.dst.text &&
      r.gateway?.text === route.gateway?.text,
  );
  if (there)
    throw new NetError("check/differs", {
      what: `route to ${route.dst.text} in table ${route.table}`,
      wanted: "none",
      found: `one over ${link}`,
    });
}

export const takenRoute: KindOperations<TakenRouteObject> = { apply, verify, remove };
