import type { DelCall } from "../../cni/plugin.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { acceptance, hostLinksOf } from "./forward.ts";
import type { Context } from "../../netstate/context.ts";
import { MARK_PREFIX } from "../../netstate/owner.ts";
import { listRecords } from "../../netstate/record.ts";
import { findLink, type Link, listLinks, removeLink } from "../../rtnl/link.ts";
import type { LinkType } from "../../rtnl/kinds.ts";

/**
 * DEL of what the reference plugins made: the same configuration, so that a node can change over with its containers
 * running. Only called when there is no record of ours.
 */
type Call = Pick<DelCall<unknown>, "conf" | "containerId" | "ifname">;
type LinkCall = Pick<DelCall<object>, "ifname" | "config">;

const attachment = ({ conf, containerId, ifname }: Call) => ({ network: conf.name, containerId, ifname });

/** The pair whose one end is the container's interface, the masquerade of its addresses and the check of its MAC address. */
export async function removeForeignPair(call: Call, { spaces }: Context): Promise<void> {
  if (spaces.container !== undefined) {
    const { socket } = spaces.container;
    const link = findLink(socket, { name: call.ifname });
    if (link?.kind === "veth" && !isOurs(link, spaces.host)) removeLink(socket, { index: link.index });
  }
  const { removeReferenceMacCheck, removeReferenceMasquerade } =
    await import("../../firewall/iptables-reference.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  using netfilter = openRuleSet();
  removeReferenceMasquerade(netfilter, attachment(call));
  removeReferenceMacCheck(netfilter, attachment(call));
}

/**
 * True if the pair has a mark: then another network or plugin of ours made it. A runtime calls DEL after an ADD that
 * was refused because the interface was there.
 */
function isOurs({ peerIndex }: Link, host: NetlinkSocket): boolean {
  const end = peerIndex === undefined ? undefined : findLink(host, { index: peerIndex });
  return end?.kind === "veth" && end.altNames.some((n) => n.startsWith("heddle-"));
}

/**
 * The port mappings of this attachment. In nftables the reference notes no more than the container: the previous result
 * tells which rules lead to this interface. Without one the container's other networks lose theirs, too, unless the
 * interface is ours and nothing was mapped.
 */
export async function removeForeignMappings(
  call: Call & Pick<DelCall<{ readonly mappings: readonly unknown[] }>, "prevResult" | "config">,
): Promise<void> {
  const { removeReferencePortmap } = await import("../../firewall/iptables-reference.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  const own = attachment(call);
  const nothing = call.config.mappings.length === 0 && call.prevResult === undefined && isAttachedByUs(own);
  const addresses = nothing ? [] : call.prevResult?.ips.map((ip) => ip.address.ip);
  using netfilter = openRuleSet();
  removeReferencePortmap(netfilter, { ...own, ...(addresses ? { addresses } : {}) });
}

/** True if another plugin of ours has a record of the attachment. */
const isAttachedByUs = ({ network, containerId, ifname }: ReturnType<typeof attachment>): boolean =>
  listRecords(MARK_PREFIX).some(
    ({ owner }) => owner.network === network && owner.containerId === containerId && owner.ifname === ifname,
  );

/** What the reference's `firewall` allowed; its DEL and this one need the result of ADD to know the addresses. */
export async function removeForeignAcceptance(
  { prevResult }: Pick<DelCall<unknown>, "prevResult">,
  { spaces: { host }, firewalls, mark }: Context,
  zone: string | undefined,
): Promise<void> {
  if (prevResult === undefined) return;
  const addresses = prevResult.ips.map((ip) => ip.address.ip);
  const { removeReferenceForward } = await import("../../firewall/iptables-reference.ts");
  const { openRuleSet } = await import("../../nft/available.ts");
  const { bridge, port } = hostLinksOf(prevResult);
  {
    using netfilter = openRuleSet();
    const last = bridge !== undefined && !hasOtherPorts(host, bridge, port);
    removeReferenceForward(netfilter, { addresses, ...(last ? { bridge } : {}) });
  }
  const { firewalldRuns } = await import("../../firewall/firewalld.ts");
  if (addresses.length === 0 || !firewalldRuns()) return;
  // Who has the address now keeps it: runtimes call DEL again, long after somebody else got it.
  firewalls.open("firewalld").remove(mark, acceptance(addresses, { network: "", containerId: "" }, zone));
}

function hasOtherPorts(host: NetlinkSocket, bridge: string, port: string | undefined): boolean {
  const index = findLink(host, { name: bridge })?.index;
  return index !== undefined && listLinks(host).some((l) => l.master === index && l.name !== port);
}
/**
 * The container's interface of this kind, made by another implementation; and the routes of `hostAccess`, which are ours
 * and have lost their record.
 */
export const removeForeignLink =
  (kind: LinkType["kind"] | "tun") =>
  async ({ ifname, config }: LinkCall, context: Context): Promise<void> => {
    const socket = context.spaces.container?.socket;
    const link = socket && findLink(socket, { name: ifname });
    if (socket && link?.kind === kind && !link.altNames.some((n) => n.startsWith("heddle-")))
      removeLink(socket, { index: link.index });
    if (!("hostAccess" in config) || config.hostAccess !== true) return;
    const { removeMarkedRoutes } = await import("../../netstate/marked-routes.ts");
    removeMarkedRoutes(context);
  };
