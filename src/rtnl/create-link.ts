import { type Mac, macToBytes } from "../net/mac.ts";
import { NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { encodeLinkType, type LinkType } from "./kinds.ts";
import { linkBody, linkRequest } from "./link.ts";

/** A link to be made. What is absent is the kernel's default. */
export interface NewLink {
  readonly name: string;
  readonly type: LinkType;
  readonly mac?: Mac;
  readonly mtuBytes?: number;
  /** Packets that may wait in front of the link. */
  readonly txQueueLength?: number;
  /** Index of the link below, in the namespace of the socket. */
  readonly lowerIndex?: number;
  /** The namespace to make it in, if not that of the socket. */
  readonly netnsFd?: number;
  readonly up?: boolean;
  /** The index that it is to have where it is made. */
  readonly index?: number;
}

/** The kernel reads a number of zero bytes as one that is not given. */
const orNothing = <T>(key: string, value: T | undefined): Record<string, T> =>
  value === undefined ? {} : { [key]: value };

/**
 * Makes a link in one request, with its final name, in the namespace where it is to be.
 * @throws NetError `netlink/refused` EEXIST if the name is taken there, EOPNOTSUPP if the kernel has no such kind,
 *   EBUSY or EINVAL if the lower link cannot carry it
 */
export function createLink(socket: NetlinkSocket, link: NewLink): void {
  const data = encodeLinkType(link.type);
  const payload = linkBody(
    { ...orNothing("up", link.up), ...orNothing("index", link.index) },
    {
      name: link.name,
      linkInfo: { kind: link.type.kind, ...(data.length > 0 ? { data } : {}) },
      ...(link.mac === undefined ? {} : { address: macToBytes(link.mac) }),
      ...orNothing("mtu", link.mtuBytes),
      ...orNothing("txQueueLength", link.txQueueLength),
      ...orNothing("link", link.lowerIndex),
      ...orNothing("netnsFd", link.netnsFd),
    },
  );
  socket.request(
    linkRequest("NEWLINK", `${link.name} (${link.type.kind})`, NLM_F.CREATE | NLM_F.EXCL, payload),
  );
}

/**
 * Gives a link these parameters of its kind, of those that the kernel changes on a link that is there.
 * @throws NetError `netlink/refused` EOPNOTSUPP if one cannot be changed
 */
export function changeLinkType(
  socket: NetlinkSocket,
  index: number,
  type: LinkType,
  parameters: readonly string[],
): void {
  const chosen = Object.entries(type).filter(([key]) => key === "kind" || parameters.includes(key));
  const data = encodeLinkType(Object.fromEntries(chosen) as unknown as LinkType);
  const payload = linkBody({ index }, { linkInfo: { kind: type.kind, data } });
  socket.request(linkRequest("NEWLINK", `#${index} (${type.kind})`, 0, payload));
}

/** An address that no link can have, with which the kernel refuses a kind that it knows. */
const MULTICAST = Uint8Array.of(1, 0, 0, 0, 0, 0);

/** Kinds of links that a kernel can be asked for. `tun` is none: taps are made by a file of their own. */
export type AskedKind =
  "bridge" | "veth" | "ifb" | "macvlan" | "macvtap" | "ipvlan" | "vlan" | "vrf" | "dummy";

/**
 * True if the kernel has links of that kind. It is asked to make one with an impossible address, or without the link that
 * it would hang on, so that none is made; it may load a module for the answer.
 */
export function knowsLinkKind(socket: NetlinkSocket, kind: AskedKind): boolean {
  const payload = linkBody({}, { name: "heddle-probe", linkInfo: { kind }, address: MULTICAST });
  const request = linkRequest("NEWLINK", `of kind ${kind}`, NLM_F.CREATE | NLM_F.EXCL, payload);
  return socket.tryRequest(request, "EADDRNOTAVAIL", "EINVAL", "EOPNOTSUPP") !== "EOPNOTSUPP";
}
