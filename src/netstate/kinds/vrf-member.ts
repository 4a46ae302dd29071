/**
 * A link as a member of a VRF. The VRF carries a name that tells that it was made for its members, so that DEL of the last
 * one removes it, and leaves one that somebody else had made.
 */
import { isNetError, NetError } from "../../errors.ts";
import { addAddress, listAddresses, removeAddress } from "../../rtnl/address.ts";
import { createLink } from "../../rtnl/create-link.ts";
import { linkTypeOf } from "../../rtnl/kinds.ts";
import { addAltName, findLink, getLink, type Link, listLinks, removeLink, setLink } from "../../rtnl/link.ts";
import { appendRoute, listRoutes, type NewRoute, RT_TABLE_MAIN } from "../../rtnl/route.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  findForIndex,
  type KindOperations,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import { keepNeighbours } from "../kept-neighbours.ts";
import type { VrfMemberObject } from "../model.ts";
import { socketAt } from "../spaces.ts";

const markOfVrf = (name: string): string => `heddle-vrf-${name}`;

/** What is borrowed: whether the VRF was made by this attachment, and not only joined. */
type Borrowed = "made" | "joined";

function apply(o: VrfMemberObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  const link = findForIndex(context, o.place, o.link);
  const there = findLink(socket, { name: o.vrf.name });
  const how: Borrowed = there === undefined ? "made" : "joined";
  context.borrow(o, how);
  context.undo.defer(() => leave(o, how, context));
  const vrf = there ?? create(o, socket);
  requireVrf(o, vrf);
  if (!vrf.up) setLink(socket, { index: vrf.index }, { up: true });
  if (link.master === vrf.index) return;
  setMaster(socket, link, vrf.index);
  restoreAddresses(o, link, socket);
  for (const route of nearFirst(o, o.vrf.table))
    appendRoute(socket, { ...acceptable(route, o.vrf.table), oif: link.index });
}

/**
 * A route of the member in any other table than the VRF's (those of `sbr`, say) cannot name its source: there and in the
 * local table the kernel finds no such IPv4 address, and refuses the route. It takes the link's by itself.
 */
function acceptable(route: NewRoute, table: number): NewRoute {
  if (route.dst.ip.family === 6 || route.table === table) return route;
  const { src: _, ...rest } = route;
  return rest;
}

function create({ vrf: { name, table } }: VrfMemberObject, socket: NetlinkSocket): Link {
  try {
    createLink(socket, { name, type: { kind: "vrf", table } });
  } catch (cause) {
    if (!isNetError(cause, "netlink/refused") || cause.detail.errno !== "EOPNOTSUPP") throw cause;
    const missing = { feature: "links of kind vrf", needs: "a kernel with the module vrf" };
    throw new NetError("feature/missing", missing, { cause });
  }
  addAltName(socket, { name }, markOfVrf(name));
  return getLink(socket, { name });
}

function requireVrf({ place, vrf: { name, table } }: VrfMemberObject, link: Link): void {
  const type = linkTypeOf(link);
  if (type?.kind === "vrf" && type.table === table) return;
  const is =
    type?.kind === "vrf" ? `a VRF with the table ${type.table}` : `of kind ${link.kind ?? "hardware"}`;
  const what = `a link ${name} that is ${is}, not a VRF with the table ${table}`;
  throw new NetError("resource/exists", { what, where: `the ${place}` });
}

/** The kernel takes the link down and up again. */
const setMaster = (socket: NetlinkSocket, { index }: Link, master: number): void =>
  keepNeighbours(socket, index, () => setLink(socket, { index }, { master }));

/** An address that the kernel kept looks for another owner again, although it has found none before. */
function restoreAddresses(o: VrfMemberObject, { index }: Link, socket: NetlinkSocket): void {
  const kept = listAddresses(socket, index);
  for (const { address, ...how } of o.addresses) {
    const found = kept.find((a) => a.prefix.text === address.text);
    if (found?.tentative && !how.dad) removeAddress(socket, index, address);
    addAddress(socket, index, address, how);
  }
}

/** The routes as they are while the main one is `main`; what is reached without a gateway comes first. */
const nearFirst = ({ routes }: VrfMemberObject, main: number): readonly NewRoute[] =>
  routes
    .map((r) => (r.table === RT_TABLE_MAIN ? { ...r, table: main } : r))
    .toSorted((a, b) => Number(a.gateway !== undefined) - Number(b.gateway !== undefined));

/** What the kernel answers where a route has become impossible: its address or its link's state has changed since. */
const IMPOSSIBLE = ["EINVAL", "ENETDOWN", "ENETUNREACH", "EHOSTUNREACH"];

/** May come after an attempt that ended anywhere: what is there already stays. */
function leave(o: VrfMemberObject, how: Borrowed, { spaces }: Context): void {
  if (o.place === "container" && spaces.container === undefined) return;
  const socket = socketAt(spaces, o.place);
  const found = findLink(socket, { name: o.vrf.name });
  const vrf = found?.kind === "vrf" ? found : undefined;
  const link = findLink(socket, { name: o.link });
  // A master that somebody else gave it since is left alone.
  if (link !== undefined && (link.master === undefined || link.master === vrf?.index)) {
    if (link.master !== undefined) setMaster(socket, link, 0);
    putBack(o, link, socket);
  }
  if (vrf === undefined || !(how === "made" || vrf.altNames.includes(markOfVrf(vrf.name)))) return;
  // Whoever calls this is alone in the namespace.
  if (!listLinks(socket).some((l) => l.master === vrf.index)) removeLink(socket, { index: vrf.index });
}

function putBack(o: VrfMemberObject, link: Link, socket: NetlinkSocket): void {
  restoreAddresses(o, link, socket);
  for (const route of nearFirst(o, RT_TABLE_MAIN)) {
    try {
      appendRoute(socket, { ...route, oif: link.index });
    } catch (e) {
      if (!isNetError(e, "netlink/refused") || !IMPOSSIBLE.includes(e.detail.errno)) throw e;
    }
  }
}

function remove(o: VrfMemberObject, context: RemoveContext): void {
  const how = context.borrowed(o);
  if (how !== undefined) leave(o, how as Borrowed, context);
}

function verify(o: VrfMemberObject, context: Context): void {
  const socket = socketAt(context.spaces, o.place);
  const link = linkOf(context, o.place, o.link);
  const master = link.master === undefined ? undefined : findLink(socket, { index: link.master });
  expectSame(`VRF of ${o.link}`, o.vrf.name, master?.name ?? "none");
  const type = master && linkTypeOf(master);
  expectSame(`table of ${o.vrf.name}`, o.vrf.table, type?.kind === "vrf" ? type.table : "none");
  expectSame(`${o.vrf.name} is up`, true, master?.up === true);
  const addresses = listAddresses(socket, link.index).map((a) => a.prefix.text);
  for (const { address } of o.addresses)
    expectSame(`address ${address.text} of ${o.link}`, true, addresses.includes(address.text));
  const routes = [...listRoutes(socket, 4), ...listRoutes(socket, 6)].filter((r) => r.oif === link.index);
  for (const wanted of nearFirst(o, o.vrf.table)) {
    const same = routes.some(
      (r) =>
        r.table === wanted.table &&
        r.dst.text === wanted.dst.text &&
        r.gateway?.text === wanted.gateway?.text,
    );
    expectSame(`route to ${wanted.dst.text} in table ${wanted.table}`, true, same);
  }
}

export const vrfMember: KindOperations<VrfMemberObject> = { apply, verify, remove };
