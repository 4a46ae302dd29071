import { NetError } from "../../errors.ts";
import { parseIfName } from "../../net/ifname.ts";
import type { Mac } from "../../net/mac.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import {
  addAltName,
  findLink,
  getLink,
  type Link,
  listLinks,
  removeAltName,
  setLink,
} from "../../rtnl/link.ts";
import { openNetns } from "../../sys/netns.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  linkOf,
  type RemoveContext,
} from "../context.ts";
import { lockHost } from "../host-lock.ts";
import type { MovedLinkObject } from "../model.ts";
import { peekRecord } from "../record.ts";
import type { Spaces } from "../spaces.ts";
import { StaleFacts } from "./bridge.ts";

/**
 * A device of the host that is lent to a container. It carries the owner's mark as an altname wherever it is, and its
 * name in the host as its alias, as the reference does, so that either implementation can give it back. The kernel
 * returns a physical device when the namespace ends, under the container's name; the mark tells which one it is.
 */

/** What begins the altname: not the mark itself, since what carries that is removed and not given back. */
export const MOVED = "moved-";

/** How long the kernel may take to return a physical device of a namespace that has just ended, in milliseconds. */
const RETURN_TIMEOUT_MS = 5_000;
const RETURN_LOOK_MS = 20;

/** How the device was before. */
interface Was {
  readonly alias: string;
  readonly up: boolean;
  readonly mtuBytes: number;
  readonly txQueueLength: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  readonly mac?: Mac;
  /** It outlives the namespace that it is in: the kernel moves it to the initial one. */
  readonly physical: boolean;
}

const wasOf = (link: Link): Was => ({
  alias: link.alias ?? "",
  up: link.up,
  mtuBytes: link.mtuBytes,
  txQueueLength: link.txQueueLength,
  promiscuous: link.promiscuous,
  allMulticast: link.allMulticast,
  ...(link.mac ? { mac: link.mac } : {}),
  physical: link.kind === undefined,
});

const exists = (name: string, where: string): NetError =>
  new NetError("resource/exists", { what: `interface ${name}`, where });

/** Before Linux 6.6 an altname could not be looked up in the namespace that its link was moved to. */
export const findMarked = (socket: NetlinkSocket, altName: string): Link | undefined =>
  findLink(socket, { altName }) ?? listLinks(socket).find((l) => l.altNames.includes(altName));

function apply(o: MovedLinkObject, context: ApplyContext): void {
  const { host, container } = context.spaces;
  if (container === undefined) throw new TypeError("a device is moved into a namespace");
  using _lock = lockHost("moved-link");
  const link = findLink(host, { name: o.name });
  // It was there when this was planned.
  if (link === undefined) throw new StaleFacts();
  const marks = link.altNames.filter((name) => name.startsWith(MOVED));
  if (marks.length > 0) {
    restoreFor(marks, link, host);
    throw new StaleFacts();
  }
  if (findLink(container.socket, { name: o.to })) throw exists(o.to, container.netns.path);
  const was = wasOf(link);
  const ref = { index: link.index };
  context.borrow(o, JSON.stringify(was));
  context.undo.defer(() => giveBack(o, was, context));
  addAltName(host, ref, MOVED + context.mark);
  setLink(host, ref, { alias: o.name });
  try {
    setLink(host, ref, { netnsFd: container.netns.fd, name: o.to });
  } catch (cause) {
    if (cause instanceof NetError && cause.is("netlink/refused") && cause.detail.errno === "EINVAL")
      throw new NetError(
        "config/invalid",
        { field: "device", why: `${o.name} is a link that cannot leave its namespace` },
        { cause },
      );
    throw cause;
  }
}

/**
 * A device of the host with a mark is one that the kernel has returned from a dead namespace, under the container's name,
 * or that a killed ADD was about to move: before somebody else gets it, it is given back in the name of that attachment,
 * whose DEL is yet to come. Without a record the alias knows its name.
 */
function restoreFor(marks: readonly string[], link: Link, host: NetlinkSocket): void {
  const [lent] = marks.flatMap((mark) => lentBy(mark.slice(MOVED.length)));
  restore(host, link, lent?.name ?? homeName(link) ?? link.name, lent?.was ?? {});
  for (const mark of marks) removeAltName(host, { index: link.index }, mark);
}

/** Names and states of the devices that an attachment has got, by its record. */
function lentBy(mark: string): readonly { readonly name: string; readonly was: Was }[] {
  const { state, borrowed = [] } = peekRecord(mark) ?? {};
  return borrowed.flatMap(({ object, value }) => {
    const o = state?.objects[object];
    return o?.kind === "moved-link" ? [{ name: o.name, was: JSON.parse(value) as Was }] : [];
  });
}

/**
 * Gives the device back to the host, from the container or from where the kernel has put it. Throws `resource/exists` and
 * leaves it where it is if another link has its name now. Returns false if it is no more. `unmarked` is a device in the
 * container that another implementation has moved.
 */
export function giveBack(
  o: Pick<MovedLinkObject, "name">,
  was: Partial<Was>,
  { mark, spaces }: Pick<Context, "mark" | "spaces">,
  unmarked?: Link,
): boolean {
  using _lock = lockHost("moved-link");
  const altName = MOVED + mark;
  const inside = unmarked ?? (spaces.container && findMarked(spaces.container.socket, altName));
  if (inside) moveBack(inside, o.name, spaces);
  const link = inside
    ? getLink(spaces.host, { name: o.name })
    : returned(spaces.host, altName, o.name, was.physical ?? false);
  if (link === undefined) return findLink(spaces.host, { name: o.name }) !== undefined;
  restore(spaces.host, link, o.name, was);
  removeAltName(spaces.host, { index: link.index }, altName);
  return true;
}

function moveBack(link: Link, name: string, { host, container }: Spaces): void {
  if (container === undefined) return;
  if (findLink(host, { name })) throw exists(name, "the host");
  // This process is in the host's namespace.
  using home = openNetns("/proc/self/ns/net");
  setLink(container.socket, { index: link.index }, { netnsFd: home.fd, name });
}

/** What the kernel has returned, or is about to. One that has its own name is there already. */
function returned(host: NetlinkSocket, altName: string, name: string, physical: boolean): Link | undefined {
  const deadline = performance.now() + RETURN_TIMEOUT_MS;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const link = findMarked(host, altName);
    if (link !== undefined || !physical || findLink(host, { name })) return link;
    if (performance.now() > deadline) return undefined;
    Atomics.wait(cell, 0, 0, RETURN_LOOK_MS);
  }
}

/** Name and attributes as they were; down as long as some of them are set. */
function restore(host: NetlinkSocket, link: Link, name: string, was: Partial<Was>): void {
  const ref = { index: link.index };
  if (link.name !== name) {
    if (findLink(host, { name })) throw exists(name, "the host");
    if (link.up) setLink(host, ref, { up: false });
    setLink(host, ref, { name });
  }
  const now = getLink(host, ref);
  const differs = (key: keyof Was & keyof Link): Partial<Was> =>
    was[key] === undefined || was[key] === now[key] ? {} : { [key]: was[key] };
  const change = {
    ...differs("mtuBytes"),
    ...differs("txQueueLength"),
    ...differs("promiscuous"),
    ...differs("allMulticast"),
    ...differs("mac"),
  };
  if (Object.keys(change).length > 0) setLink(host, ref, change);
  setLink(host, ref, { alias: was.alias ?? "" });
  if (was.up !== undefined && was.up !== now.up) setLink(host, ref, { up: was.up });
}

/** The name in the host that a device in a container, or one that has come back, bears as its alias. */
export function homeName({ alias }: Link): string | undefined {
  const parsed = parseIfName(alias ?? "");
  return parsed.ok ? parsed.value : undefined;
}

function verify(o: MovedLinkObject, context: Context): void {
  const { mac } = linkOf(context, "container", o.to);
  if (o.mac) expectSame(`MAC address of ${o.to}`, o.mac, mac ?? "none");
}

function remove(o: MovedLinkObject, context: RemoveContext): void {
  const text = context.borrowed(o);
  if (text === undefined) return;
  if (!giveBack(o, JSON.parse(text) as Was, context))
    context.log?.(`device ${o.name} was not given back: it is neither in the container nor on the host`);
}

export const movedLink: KindOperations<MovedLinkObject> = { apply, verify, remove };
