/** Bringing a link up, and a borrowed one down again. */
import { findLink, setLink } from "../../rtnl/link.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  findForIndex,
  type KindOperations,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import type { LinkUpObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

function apply(o: LinkUpObject, context: ApplyContext): void {
  const link = findForIndex(context, o.place, o.link);
  if (link.up) return;
  const borrowed = o.possession === "borrowed";
  if (borrowed) {
    context.borrow(o, "down");
    context.undo.defer(() => give(o, context));
  }
  setLink(socketAt(context.spaces, o.place), { index: link.index }, { up: true });
}

function give(o: LinkUpObject, context: Context): void {
  if (o.place === "container" && context.spaces.container === undefined) return;
  const socket = socketAt(context.spaces, o.place);
  const link = findLink(socket, { name: o.link });
  if (link?.up) setLink(socket, { index: link.index }, { up: false });
}

function remove(o: LinkUpObject, context: RemoveContext): void {
  if (context.borrowed(o) !== undefined) give(o, context);
}

const verify = (o: LinkUpObject, context: Context): void =>
  expectSame(`${o.link} is up`, true, linkOf(context, o.place, o.link).up);

export const linkUp: KindOperations<LinkUpObject> = { apply, verify, remove };
