import type { Ip } from "../../net/ip.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { listAddresses } from "../../rtnl/address.ts";
import { type Link, listLinks } from "../../rtnl/link.ts";
import { listDefaultRoutes, lookUpRoute } from "../../rtnl/route.ts";
import type { HostNetwork } from "./external-interface.ts";
import type { ExternalWish } from "./options.ts";

/** Asks the kernel what the choice of the external interface is made from. */

/** @throws netlink/interrupted */
export const readHostNetwork = (socket: NetlinkSocket, { canReach }: ExternalWish): HostNetwork => {
  const reach = canReach && lookUpRoute(socket, canReach);
  return {
    links: listLinks(socket),
    addresses: listAddresses(socket),
    routes: ([4, 6] as const).flatMap((family) => listDefaultRoutes(socket, family)),
    ...(reach ? { reach } : {}),
  };
};

/** True if the kernel reaches the address over that link without a gateway. */
export function reachesDirectly(socket: NetlinkSocket, link: Pick<Link, "index">, to: Ip): boolean {
  const route = lookUpRoute(socket, to);
  return route !== undefined && route.oif === link.index && route.gateway === undefined;
}
