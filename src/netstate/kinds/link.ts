import { NetError } from "../../errors.ts";
import { createLink } from "../../rtnl/create-link.ts";
import type { Ip } from "../../net/ip.ts";
import { type LinkType, linkTypeOf } from "../../rtnl/kinds.ts";
import { addAltName, findLink, getLink, type Link, removeLink, setLink } from "../../rtnl/link.ts";
import { tryWriteSysctl } from "../../sys/sysctl.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  findForIndex,
  type KindOperations,
  linkIndex,
  linkOf,
} from "../context.ts";
import type { LinkObject } from "../model.ts";
import { passingName } from "../owner.ts";
import { at, socketAt } from "../spaces.ts";
import { holderOf, otherModeOn } from "./link-holder.ts";

/**
 * A link of one end. An exclusive one carries its owner's mark as an altname, in the namespace where it is; a shared one
 * has none and stays.
 */
function apply(o: LinkObject, context: ApplyContext): void {
  if (o.possession === "shared") return ensure(o, context);
  refuseOtherMode(o, context);
  let name: string;
  try {
    name = createUnderSomeName(o, context);
  } catch (cause) {
    refuse(o, context, cause as Error);
    if (isErrno(cause, "EEXIST")) throw taken(o, context, cause as Error);
    // The request may have been served and only its answer lost.
    context.undo.defer(() => remove(o, context));
    throw cause;
  }
  context.undo.defer(() => remove(o, context));
  const socket = socketAt(context.spaces, o.place);
  addAltName(socket, { name }, context.mark);
  if (name !== o.name) setLink(socket, { index: getLink(socket, { name }).index }, { name: o.name });
  // A passthru link takes the address of the one below when it is made; afterwards it gives its own to that one.
  if (o.mac && "mode" in o.type && o.type.mode === "passthru")
    setLink(socket, { name: o.name }, { mac: o.mac });
  if (o.alsoNamed !== undefined) addIfFree(o.alsoNamed, o, context);
}

function addIfFree(altName: string, { name, place }: LinkObject, { spaces }: Context): void {
  try {
    addAltName(socketAt(spaces, place), { name }, altName);
  } catch (e) {
    if (!isErrno(e, "EEXIST")) throw e;
  }
}

/**
 * Makes the link by its name, or by a passing one. Kernels such as 6.1 and 6.12 refuse a name that a link has in the
 * namespace of the lower one, wherever the new link is to be; and most hosts have an `eth0`.
 */
function createUnderSomeName(o: LinkObject, context: ApplyContext): string {
  try {
    create(o, context);
    return o.name;
  } catch (e) {
    const elsewhere = o.lower !== undefined && o.lower.place !== o.place;
    if (!elsewhere || !isErrno(e, "EEXIST") || isThere(o, context)) throw e;
  }
  const name = passingName(context.mark);
  create({ ...o, name }, context);
  return name;
}

function create(o: LinkObject, context: ApplyContext): void {
  const { name, type, mac, mtuBytes, txQueueLength, index, lower, place } = o;
  const from = lower?.place ?? place;
  // The lower link is named by its index in the socket's namespace, which may be another than the new link's.
  const elsewhere = from !== place;
  createLink(socketAt(context.spaces, from), {
    name,
    type,
    ...(mac ? { mac } : {}),
    ...(mtuBytes ? { mtuBytes } : {}),
    ...(txQueueLength === undefined ? {} : { txQueueLength }),
    ...(index === undefined ? {} : { index }),
    ...(lower ? { lowerIndex: linkIndex(context, lower.place, lower.name) } : {}),
    ...(elsewhere && context.spaces.container ? { netnsFd: context.spaces.container.netns.fd } : {}),
  });
}

/** A link that several attachments use, made by the first of them. */
function ensure(o: LinkObject, context: ApplyContext): void {
  const socket = socketAt(context.spaces, o.place);
  if (findLink(socket, { name: o.name }) === undefined) {
    try {
      create(o, context);
    } catch (cause) {
      refuse(o, context, cause as Error);
      // Another ADD made it at the same time.
      if (!isErrno(cause, "EEXIST")) throw cause;
    }
  }
  const link = findForIndex(context, o.place, o.name);
  const difference = differs(o.type, link);
  if (difference !== undefined)
    throw new NetError("resource/exists", {
      what: `a link ${o.name} that is ${difference}, not ${show(o.type)}`,
      where: `the ${o.place}`,
    });
  if (o.mac && link.mac !== o.mac) setLink(socket, { index: link.index }, { mac: o.mac });
  if (link.up) return;
  at(context.spaces, o.place, () => {
    for (const [key, value] of Object.entries(o.prepare ?? {})) tryWriteSysctl(key, value);
  });
  setLink(socket, { index: link.index }, { up: true });
}

const isErrno = (e: unknown, errno: string): boolean =>
  e instanceof NetError && e.is("netlink/refused") && e.detail.errno === errno;

/** Throws what the kernel's refusal means, if it says that nothing was made and why. */
function refuse(o: LinkObject, context: Context, cause: Error): void {
  if (isErrno(cause, "EOPNOTSUPP") && UNKNOWN_KIND.test(extackOf(cause))) throw missingKind(o, cause);
  const { type, lower } = o;
  if (lower === undefined) return;
  const holder = (like: (other: LinkType) => boolean): string | undefined =>
    holderOf(lower, like, socketAt(context.spaces, lower.place));
  const inTheWay = (who: string | undefined): NetError => noRoom(lower, type, who, cause);
  // A link hands its packets to one user alone: macvlans, ipvlans, a bridge or a bond.
  if (isErrno(cause, "EBUSY")) throw inTheWay(holder(type.kind === "ipvlan" ? isMacvlan : isIpvlan));
  // A link carries each VLAN once, wherever the VLAN's link is.
  if (isErrno(cause, "EEXIST") && type.kind === "vlan" && !isThere(o, context))
    throw inTheWay(holder((other) => other.kind === "vlan" && other.id === type.id));
  // A macvlan in mode passthru has no other beside it; the kernel says so with the error of everything else.
  const beside = isErrno(cause, "EINVAL") && isMacvlan(type) ? holder(isMacvlan) : undefined;
  if (beside !== undefined) throw inTheWay(beside);
}

function noRoom(
  lower: NonNullable<LinkObject["lower"]>,
  type: LinkType,
  who: string | undefined,
  cause?: Error,
): NetError {
  const what = `a user of ${lower.name} that leaves no room for ${show(type)}${who ? ` (${who})` : ""}`;
  return new NetError("resource/exists", { what, where: `the ${lower.place}` }, cause ? { cause } : {});
}

/** The kernel would change the mode of all the others without a word. */
function refuseOtherMode({ type, lower }: LinkObject, { spaces, mark }: ApplyContext): void {
  if (type.kind !== "ipvlan" || lower === undefined) return;
  const who = otherModeOn(lower, type.mode, socketAt(spaces, lower.place), mark);
  if (who !== undefined) throw noRoom(lower, type, who);
}

const isMacvlan = ({ kind }: LinkType): boolean => kind === "macvlan" || kind === "macvtap";
const isIpvlan = ({ kind }: LinkType): boolean => kind === "ipvlan";
const isThere = ({ place, name }: LinkObject, { spaces }: Context): boolean =>
  findLink(socketAt(spaces, place), { name }) !== undefined;

/** Kernels before 5.9 say nothing more than the number. */
const UNKNOWN_KIND = /^$|Unknown device type/;
const extackOf = (e: Error): string =>
  e instanceof NetError && e.is("netlink/refused") ? (e.detail.extack ?? "") : "";

const taken = (o: LinkObject, { spaces }: Context, cause: Error): NetError => {
  const where = o.place === "host" ? "the host" : (spaces.container?.netns.path ?? "the container");
  return new NetError("resource/exists", { what: `interface ${o.name}`, where }, { cause });
};

const missingKind = ({ type }: LinkObject, cause: Error): NetError =>
  new NetError(
    "feature/missing",
    { feature: `links of kind ${type.kind}`, needs: `a kernel with the module ${type.kind}` },
    { cause },
  );

/** What a person calls a type: `macvlan, mode bridge`. */
const show = ({ kind, ...parameters }: LinkType): string =>
  [kind, ...Object.entries(parameters).map(([key, value]) => `${key} ${shown(value)}`)].join(", ");
const shown = (value: string | number | boolean | Ip): string =>
  typeof value === "object" ? value.text : String(value);

/** What the link is instead; undefined if it is of this type. A parameter that is not asked for may be any. */
function differs(wanted: LinkType, link: Link): string | undefined {
  const found = linkTypeOf(link);
  if (found === undefined) return link.kind ?? "hardware";
  const has = new Map<string, unknown>(Object.entries(found));
  const same = Object.entries(wanted).every(
    ([key, value]) => key === "broadcastQueueLength" || has.get(key) === value,
  );
  return same ? undefined : show(found);
}

function verify(o: LinkObject, context: Context): void {
  if (o.movesAway && !isThere(o, context)) return;
  const link = linkOf(context, o.place, o.name);
  const difference = differs(o.type, link);
  if (difference !== undefined)
    throw new NetError("check/differs", {
      what: `kind of ${o.name}`,
      wanted: show(o.type),
      found: difference,
    });
  if (o.lower) {
    const { index } = linkOf(context, o.lower.place, o.lower.name);
    expectSame(`${o.name} is on ${o.lower.name}`, true, link.peerIndex === index);
  }
  if (o.mac) expectSame(`MAC address of ${o.name}`, o.mac, link.mac ?? "none");
}

/**
 * Removes the link by its mark, or by its name if ADD was ended before it could set the mark. A link of that name
 * that carries another mark of ours, or is of another kind, is somebody else's.
 */
function remove(o: LinkObject, { mark, spaces }: Context): void {
  // What was in a namespace is gone with it.
  if (o.possession === "shared" || (o.place === "container" && spaces.container === undefined)) return;
  const socket = socketAt(spaces, o.place);
  if (removeLink(socket, { altName: mark })) return;
  for (const name of [o.name, passingName(mark)]) {
    const link = findLink(socket, { name });
    if (link?.kind === o.type.kind && !link.altNames.some((n) => n.startsWith("heddle-")))
      removeLink(socket, { index: link.index });
  }
}

export const link: KindOperations<LinkObject> = { apply, verify, remove };
