import { NetError } from "../../errors.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { addRedirect, listFilters, removeFilters } from "../../rtnl/filter.ts";
import { findLink } from "../../rtnl/link.ts";
import { addQdisc, findQdisc, removeQdisc } from "../../rtnl/qdisc.ts";
import {
  type ApplyContext,
  type Context,
  type KindOperations,
  linkIndex,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import type { FilterObject } from "../model.ts";
import { socketAt } from "../spaces.ts";
import { known } from "./qdisc.ts";

/**
 * The priority of filters of ours; see docs/limits.md. It is behind those that the kernel chooses, so that programs of
 * others, which may drop packets, are asked first: what is sent on is seen by no later one.
 */
export const FILTER_PRIORITY = 65_000;

/** What the record says when the link had no hook for filters before. */
const NO_HOOK = "no hook";

function apply(o: FilterObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const link = linkIndex(context, o.place, o.link);
  const to = linkIndex(context, o.place, o.through);
  if (findQdisc(socket, link, "ingress") === undefined) {
    context.borrow(o, NO_HOOK);
    context.undo.defer(() => removeUnusedHook(socket, link));
    known("the hook clsact", "sch_ingress", () => addQdisc(socket, link, { kind: "clsact" }));
  } else {
    // From a dead attachment whose record is lost.
    removeFilters(socket, link, FILTER_PRIORITY);
  }
  context.undo.defer(() => void removeFilters(socket, link, FILTER_PRIORITY));
  known("filters that redirect packets", "cls_u32 or act_mirred", () =>
    addRedirect(socket, { link, priority: FILTER_PRIORITY, to }),
  );
}

/** Removes the hook of a link unless somebody has filters there. */
export function removeUnusedHook(socket: NetlinkSocket, link: number): void {
  if (listFilters(socket, link, "received").length > 0 || listFilters(socket, link, "sent").length > 0)
    return;
  removeQdisc(socket, link, "ingress");
}

function verify(o: FilterObject, context: Context): void {
  const socket = socketAt(context.spaces, o.place);
  const { index: to } = linkOf(context, o.place, o.through);
  const { index } = linkOf(context, o.place, o.link);
  if (!listFilters(socket, index).some((f) => f.redirectsTo === to))
    throw new NetError("check/differs", {
      what: `filters on what ${o.link} receives`,
      wanted: `one that redirects to ${o.through}`,
      found: "none",
    });
}

function remove(o: FilterObject, context: RemoveContext): void {
  const { spaces } = context;
  // What was in a namespace is gone with it.
  if (o.place === "container" && spaces.container === undefined) return;
  const socket = socketAt(spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link === undefined) return;
  removeFilters(socket, link.index, FILTER_PRIORITY);
  if (context.borrowed(o) === NO_HOOK) removeUnusedHook(socket, link.index);
}

export const filter: KindOperations<FilterObject> = { apply, verify, remove };
