import type { DelCall } from "../../cni/plugin.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import type { Context } from "../../netstate/context.ts";
import { findLink, type Link, removeLink } from "../../rtnl/link.ts";

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
    if (link?.kind === "veth" && !isOurs(link, spaces.host)) removeLink(socket, { index: link.index });
  }
  const { removeReferenceMasquerade } = await import("../../firewall/iptables-reference.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  using netfilter = openRuleSet();
  removeReferenceMasquerade(netfilter, attachment(call));
}

/**
 * True if the pair has a mark: then another network or plugin of ours made it. A runtime calls DEL after an ADD that
 * was refused because the interface was there.
 */
function isOurs({ peerIndex }: Link, host: NetlinkSocket): boolean {
  const end = peerIndex === undefined ? undefined : findLink(host, { index: peerIndex });
  return end?.kind === "veth" && end.altNames.some((n) => n.startsWith("heddle-"));
}

export async function removeForeignMappings(call: Call): Promise<void> {
  const { removeReferencePortmap } = await import("../../firewall/iptables-reference.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  using netfilter = openRuleSet();
  removeReferencePortmap(netfilter, attachment(call));
}
