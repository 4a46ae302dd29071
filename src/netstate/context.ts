import type { Alive } from "../firewall/model.ts";
import { NetError } from "../errors.ts";
import { findLink, type Link } from "../rtnl/link.ts";
import type { Firewalls } from "./firewalls.ts";
import type { NetObject, Place } from "./model.ts";
import { socketAt, type Spaces } from "./spaces.ts";
import { livingOwner } from "./alive.ts";

/**
 * What the interpreters of a state hold in common while they work for one attachment: its mark, the open
 * namespaces, and the firewalls, opened when the first rule needs one.
 */
export interface Context {
  readonly mark: string;
  readonly spaces: Spaces;
  readonly firewalls: Pick<Firewalls, "open" | "flush" | "withHostPorts">;
  readonly alive: Alive;
}

/** What `apply` needs beyond: where to note borrowed values, and how to take back what was done. */
export interface ApplyContext extends Context {
  /** Records the value that is about to be changed. */
  readonly borrow: (object: NetObject, value: string) => void;
  readonly undo: DisposableStack;
  /** Indexes of links that were found before, by place and name: within one apply each is asked for once. */
  readonly indexes: Map<string, number>;
}

export interface RemoveContext extends Context {
  /** The value that was borrowed for the object, if it was. */
  readonly borrowed: (object: NetObject) => string | undefined;
  /** A line for people about what could not be given back since it is no more. */
  readonly log?: (message: string) => void;
}

/** The three things that can be done with an object of one kind. */
export interface KindOperations<O extends NetObject> {
  apply(object: O, context: ApplyContext): void;
  /** Throws `check/differs`. */
  verify(object: O, context: Context): void;
  /** Takes back what `apply` made for this attachment alone; nothing there is fine. */
  remove(object: O, context: RemoveContext): void;
}

/** The link that an object is about. Throws `netlink/refused` ENODEV if it is gone. */
export function linkOf(context: Context, place: Place, name: string): Link {
  const link = findLink(socketAt(context.spaces, place), { name });
  if (link === undefined)
    throw new NetError("netlink/refused", { request: `RTM_GETLINK ${name}`, errno: "ENODEV" });
  return link;
}

/** The key of a link in `indexes`. */
export const indexKey = (place: Place, name: string): string => `${place} ${name}`;

/** As `linkOf`, and keeps its index for `linkIndex`. */
export function findForIndex(context: ApplyContext, place: Place, name: string): Link {
  const link = linkOf(context, place, name);
  context.indexes.set(indexKey(place, name), link.index);
  return link;
}

/** The index of a link, which is asked for once: a link that goes meanwhile fails what is done with it by ENODEV. */
export const linkIndex = (context: ApplyContext, place: Place, name: string): number =>
  context.indexes.get(indexKey(place, name)) ?? findForIndex(context, place, name).index;

/** Throws `check/differs` unless `found` is `wanted`. */
export function expectSame(
  what: string,
  wanted: string | number | boolean,
  found: string | number | boolean,
): void {
  if (wanted !== found)
    throw new NetError("check/differs", { what, wanted: String(wanted), found: String(found) });
}

export function openContext(mark: string, spaces: Spaces, firewalls: Context["firewalls"]): Context {
  return { mark, spaces, firewalls, alive: livingOwner };
}
