/**
 * The container's interface, seen from inside its namespace by a child: that it is still the one that was meant, that it
 * is up, and taking an address off it.
 */
import { NetError } from "../errors.ts";
import { type IpPrefix, type Ip, parseIp, parsePrefix } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import { parseMac } from "../net/mac.ts";
import type { Parsed } from "../net/brand.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { listAddresses, removeAddress } from "../rtnl/address.ts";
import { findLink, type Link, setLink } from "../rtnl/link.ts";
import { statPath } from "../sys/files.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { readSysctl, writeSysctl } from "../sys/sysctl.ts";
import type { LinkRef, NetnsRef } from "./model.ts";

/** What the namespace and the interface are no more: the lease has ended. */
export class Gone extends Error {}

export interface Place {
  readonly link: Link & { readonly mac: Mac };
  readonly socket: NetlinkSocket;
}

/**
 * Runs `work` inside the namespace, if it is the one that was meant. Everything opened there is closed again at the end.
 * @throws Gone if there is another one at its path, or none
 */
export function inside<T>(netns: NetnsRef, work: (socket: NetlinkSocket) => T): T {
  if (!isThere(netns)) throw new Gone(`there is no longer the network namespace that was at ${netns.path}`);
  using space = openNetns(netns.path);
  return inNetns(space, () => {
    using socket = openNetlink("route");
    const cookie = socket.netnsCookie();
    const same =
      space.dev === netns.dev &&
      space.ino === netns.ino &&
      (netns.cookie === undefined || cookie === undefined || String(cookie) === netns.cookie);
    if (!same) throw new Gone(`there is another network namespace at ${netns.path}`);
    return work(socket);
  });
}

/** True while the namespace's file is the one that was meant, as far as can be told without entering it. */
export function isThere({ path, dev, ino }: NetnsRef): boolean {
  const found = statPath(path);
  return found !== undefined && Number(found.dev) === dev && Number(found.ino) === ino;
}

/** The interface that has a lease. */
export function heldLink(socket: NetlinkSocket, { index, mac }: LinkRef): Place {
  const link = findLink(socket, { index });
  if (link === undefined || link.mac === undefined)
    throw new Gone(`there is no longer an interface #${index}`);
  // Leases go on under the address that they were asked for with, also when somebody changed it since.
  return { socket, link: { ...link, mac: must(parseMac(mac)) } };
}

/** The interface that is to get a lease; it is set up if it is not. */
export function freshLink(socket: NetlinkSocket, ifname: string): Place {
  const link = findLink(socket, { name: ifname });
  if (link === undefined)
    throw new NetError("config/invalid", {
      field: "CNI_IFNAME",
      why: `there is no interface ${ifname} in the namespace; dhcp needs one that exists before it is asked`,
    });
  if (link.mac === undefined || link.loopback)
    throw new NetError("config/unsupported", {
      field: "ipam.type",
      value: "dhcp",
      why: `${ifname} is not an Ethernet interface`,
    });
  if (!link.up) setLink(socket, { index: link.index }, { up: true });
  return { socket, link: { ...link, mac: link.mac } };
}

/** How often is looked whether the kernel has finished with an address. */
const LOOK_MS = 20;
/** Duplicate address detection of a link-local address takes one to two seconds. */
const LINK_LOCAL_MS = 5000;

/**
 * The interface's link-local address, from which DHCPv6 is spoken. Waits until the kernel has made sure that nobody else has
 * it; before that the answers could not arrive.
 */
export function linkLocal({ socket, link }: Place): Ip {
  const key = `net/ipv6/conf/${link.name}/disable_ipv6`;
  const disabled = readSysctl(key);
  if (disabled === undefined)
    throw new NetError("feature/missing", { feature: "DHCPv6", needs: "a kernel with IPv6" });
  if (disabled !== "0") writeSysctl(key, "0");
  for (const until = performance.now() + LINK_LOCAL_MS; ; Bun.sleepSync(LOOK_MS)) {
    const own = listAddresses(socket, link.index).filter((a) => a.linkLocal && a.prefix.ip.family === 6);
    const ready = own.find((a) => !a.tentative && !a.dadFailed);
    if (ready) return ready.prefix.ip;
    if (performance.now() < until) continue;
    const why = own.some((a) => a.dadFailed)
      ? "another host has the interface's link-local address"
      : `${link.name} has no link-local address after ${LINK_LOCAL_MS / 1000} s`;
    throw new NetError("try-again", { why });
  }
}

/** Takes an address off the interface; one that is not there is no matter. */
export const withdraw = ({ socket, link }: Place, address: IpPrefix): void =>
  void removeAddress(socket, link.index, address);

/** For text that was checked when it was read. */
export function must<T>(parsed: Parsed<T>): T {
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}
export const ipOf = (text: string): Ip => must(parseIp(text));
export const prefixOf = (text: string): IpPrefix => must(parsePrefix(text));
export const macOf = (text: string): Mac => must(parseMac(text));
