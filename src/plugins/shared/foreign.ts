import type { DelCall } from "../../cni/plugin.ts";
import { openNetlink } from "../../netlink/socket.ts";
import type { Context } from "../../netstate/context.ts";
import { findLink, removeLink } from "../../rtnl/link.ts";

/**
 * DEL of what the reference plugins made: the same configuration, so that a node can change over with its containers
 * running. Only called when there is no record of ours.
 */
type Call = Pick<DelCall<unknown>, "conf" | "containerId" | "ifname">;

const attachment = ({ conf, containerId, ifname }: Call) => ({ network: conf.name, containerId, ifname });

/** The pair whose one end is the container's interface, and the masquerade of its addresses. */
export async function removeForeignPair(call: Call, { spaces }: Context): Promise<void> {
  if (spaces.container !== undefined) {
    const { socket } = spaces.container;
    const link = findLink(socket, { name: call.ifname });
    if (link?.kind === "veth") removeLink(socket, { index: link.index });
  }
  const { removeReferenceMasquerade } = await import("../../firewall/iptables-reference.ts");
  using netfilter = openNetlink("netfilter");
  removeReferenceMasquerade(netfilter, attachment(call));
}

export async function removeForeignMappings(call: Call): Promise<void> {
  const { removeReferencePortmap } = await import("../../firewall/iptables-reference.ts");
  using netfilter = openNetlink("netfilter");
  removeReferencePortmap(netfilter, attachment(call));
}
