import type { DelCall } from "../../cni/plugin.ts";
import type { Context } from "../../netstate/context.ts";
import { findLink, removeLink } from "../../rtnl/link.ts";

/**
 * DEL of what the reference plugins made: the same configuration, so that a node can change over with its containers
 * running. Only called when there is no record of ours.
 */
export function removeForeignPair(call: DelCall<unknown>, { spaces }: Context): void {
  if (spaces.container === undefined) return;
  const { socket } = spaces.container;
  const link = findLink(socket, { name: call.ifname });
  if (link?.kind === "veth") removeLink(socket, { index: link.index });
}
