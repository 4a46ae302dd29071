import { inNetns, type Netns, openNetns } from "../sys/netns.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import type { Place } from "./model.ts";

/**
 * The two namespaces of an attachment and a route socket in each. They live for one call, since an open socket
 * keeps a dead container's namespace alive.
 */
export interface Spaces extends Disposable {
  readonly host: NetlinkSocket;
  /** Absent when the container's namespace is gone. */
  readonly container: { readonly netns: Netns; readonly socket: NetlinkSocket } | undefined;
}

export function openSpaces(netnsPath: string | undefined): Spaces {
  using stack = new DisposableStack();
  const host = stack.use(openNetlink("route"));
  const netns = netnsPath === undefined ? undefined : stack.use(openNetns(netnsPath));
  const container = netns && { netns, socket: stack.use(inNetns(netns, () => openNetlink("route"))) };
  const opened = stack.move();
  return { host, container, [Symbol.dispose]: () => opened[Symbol.dispose]() };
}

/** The socket of a place. Throws if the container is gone: who asks must know that it is there. */
export function socketAt(spaces: Spaces, place: Place): NetlinkSocket {
  if (place === "host") return spaces.host;
  if (spaces.container === undefined) throw new TypeError("the container's namespace is not open");
  return spaces.container.socket;
}

/** Runs `work` with this thread in the namespace of the place. */
export function at<T>(spaces: Spaces, place: Place, work: () => T): T {
  if (place === "host") return work();
  if (spaces.container === undefined) throw new TypeError("the container's namespace is not open");
  return inNetns(spaces.container.netns, work);
}
