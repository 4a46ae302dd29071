/** Where a reconciler works, and as whom. */
import { type NetlinkSocket, openNetlink } from "../../netlink/socket.ts";
import type { Link } from "../../rtnl/link.ts";
import { readSysctl, tryWriteSysctl } from "../../sys/sysctl.ts";

/** The protocol number of a host's first fabric, if nobody chose another. */
export const FABRIC_PROTOCOL = 73;

/** By what a fabric knows its own objects again. Two fabrics of one host differ in both. */
export interface Owner {
  /** At most 80 letters, digits and dashes; part of the altname of its links. */
  readonly name: string;
  /** Protocol number of its routes, 5 to 255 (linux/rtnetlink.h). */
  readonly routeProtocol: number;
}

/** The kernel of one namespace. */
export interface Place {
  readonly socket: NetlinkSocket;
  /** Opens another one, for generic netlink; whoever asks closes it. */
  readonly openGeneric: () => NetlinkSocket;
  /** The value, or undefined if there is no such parameter. */
  readonly readSysctl: (key: string) => string | undefined;
  /** False if there is no such parameter. */
  readonly writeSysctl: (key: string, value: string) => boolean;
}

/** The namespace that this process is in. */
export const here = (): Place => ({
  socket: openNetlink("route"),
  openGeneric: () => openNetlink("generic"),
  readSysctl,
  writeSysctl: tryWriteSysctl,
});

/** The links of the namespace as they were last seen, and which of them are the fabric's. */
export interface KnownLinks {
  readonly byName: Map<string, Pick<Link, "index" | "up" | "kind">>;
  /** Names of our links by their indexes. */
  readonly ours: Map<number, string>;
}
