import { foldKeys } from "../../../cni/json.ts";
import type { PluginConf } from "../../../cni/list.ts";
import { contains, type IpPrefix } from "../../../net/ip.ts";
import { openNetlink } from "../../../netlink/socket.ts";
import { listAddresses } from "../../../rtnl/address.ts";
import { findLink } from "../../../rtnl/link.ts";
import type { SubnetEnv } from "./subnet-env.ts";

/**
 * Where new containers go while a bridge still serves those of a subnet that the host had before: a host that lost its subnet
 * keeps its containers, and a bridge has the gateway of one IPv4 network.
 */

/** What the plugin `bridge` calls it if the configuration does not. */
const DEFAULT_BRIDGE = "cni0";

/**
 * The delegate with a bridge of the subnet's own, if the one that it has is the gateway of another subnet of the network; else
 * as it is. `gatewaysOf` tells the addresses of a link of the host.
 */
export function besideEarlier(
  plugin: PluginConf,
  { networks, subnets: { v4 } }: Pick<SubnetEnv, "networks" | "subnets">,
  gatewaysOf: (link: string) => readonly IpPrefix[] = addressesOf,
): PluginConf {
  const { bridge = DEFAULT_BRIDGE, isGateway } = foldKeys(plugin.raw, ["bridge", "isGateway"]);
  if (plugin.type !== "bridge" || v4 === undefined || typeof bridge !== "string" || isGateway !== true)
    return plugin;
  const isEarlier = ({ ip }: IpPrefix): boolean =>
    ip.family === 4 && !contains(v4, ip) && networks.some((whole) => contains(whole, ip));
  if (!gatewaysOf(bridge).some(isEarlier)) return plugin;
  return { ...plugin, raw: { ...plugin.raw, bridge: `cni${v4.ip.bytes.toHex()}` } };
}

function addressesOf(name: string): readonly IpPrefix[] {
  using socket = openNetlink("route");
  const link = findLink(socket, { name });
  return link === undefined ? [] : listAddresses(socket, link.index).map(({ prefix }) => prefix);
}
