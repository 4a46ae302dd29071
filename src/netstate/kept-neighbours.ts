/**
 * Permanent neighbours (those of `hostAccess`) where another plugin changes the container's link: the kernel forgets all
 * neighbours of a link that gets another hardware address or goes down for a moment, and the host goes on with the old one.
 */
import type { Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { listAddresses } from "../rtnl/address.ts";
import { listNeighbours, type Neighbour, setNeighbour } from "../rtnl/neighbour.ts";
import type { Spaces } from "./spaces.ts";

const permanent = (socket: NetlinkSocket, link?: number): readonly Neighbour[] =>
  ([4, 6] as const)
    .flatMap((family) => listNeighbours(socket, family, link))
    .filter((n) => n.state === "permanent");

/** Runs `change` and tells the link, by its index, what it knew before. */
export function keepNeighbours(socket: NetlinkSocket, link: number, change: () => void): void {
  const known = permanent(socket, link);
  change();
  for (const { ip, mac } of known) if (mac !== undefined) setNeighbour(socket, { link, ip, mac });
}

/** As `keepNeighbours` for a link of the container whose hardware address changes; the host learns the new one. */
export function keepNeighboursOf(
  { host, container }: Spaces,
  link: number,
  { from, to }: { readonly from: Mac | undefined; readonly to: Mac },
  change: () => void,
): void {
  if (container === undefined) return;
  keepNeighbours(container.socket, link, change);
  if (from === undefined) return;
  const own = new Set(listAddresses(container.socket, link).map((a) => a.prefix.ip.text));
  const isOwn = ({ ip, mac }: { readonly ip: Ip; readonly mac?: Mac }): boolean =>
    mac === from && own.has(ip.text);
  for (const known of permanent(host).filter(isOwn))
    setNeighbour(host, { link: known.link, ip: known.ip, mac: to });
}
