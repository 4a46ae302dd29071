import { NetError } from "../errors.ts";
import { macFromBytes, macToBytes, type Mac } from "../net/mac.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { viewOf } from "../wire/fixed.ts";
import { bridgeKind } from "./kinds/bridge.ts";
import { vethKind } from "./kinds/veth.ts";
import { bridgePortAttrs, IFF, ifinfomsg, linkAttrs, operState } from "./link-attrs.ts";

/**
 * Links: creating, finding, changing, removing. Every function is one request on a socket of the namespace that the
 * link is in. Names and kinds only; what a link is for is decided above.
 */
const RTM = { NEWLINK: 16, DELLINK: 17, GETLINK: 18, NEWLINKPROP: 108, DELLINKPROP: 109 } as const;
/** RTEXT_FILTER_SKIP_STATS (linux/rtnetlink.h): the counters are most of an answer and nobody here reads them. */
const SKIP_STATS = 1 << 3;

/** BR_STATE_* (linux/if_bridge.h). */
const portState = { listening: 1, learning: 2, forwarding: 3 } as const;

/** A link as the kernel shows it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly altNames: readonly string[];
  /** Absent on links without a six-byte address. */
  readonly mac?: Mac;
  readonly mtuBytes: number;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly promiscuous: boolean;
  readonly operState: (typeof operState)[number];
  /** Index of the bridge, bond or VRF that it belongs to. */
  readonly master?: number;
  /** Index of the other end (veth) or of the lower link, in that link's own namespace. */
  readonly peerIndex?: number;
  /** Namespace of the other end or lower link, by the number that this one's namespace has for it; absent: the same. */
  readonly peerNetnsId?: number;
  /** `bridge`, `veth`, …; absent for hardware and for the loopback. */
  readonly kind?: string;
  /** Parameters of kinds other than `bridge` and `veth`; `linkTypeOf` reads them. */
  readonly kindData?: Uint8Array;
  readonly alias?: string;
  readonly allMulticast: boolean;
  /** Packets that may wait in front of the link. */
  readonly txQueueLength: number;
  /** `vlanFiltering` is absent where the kernel knows no VLANs of bridge ports. */
  readonly bridge?: { readonly vlanFiltering?: boolean };
  readonly port?: {
    readonly hairpin: boolean;
    readonly isolated: boolean;
    readonly forwarding: boolean;
    /** The spanning tree protocol is finding out whether the port may forward: by default for 30 seconds. */
    readonly listening: boolean;
  };
}

/** How a link is named in a request: by index, or by one of its names. */
export type LinkRef = { readonly index: number } | { readonly name: string } | { readonly altName: string };

const showRef = (ref: LinkRef): string =>
  "index" in ref ? `#${ref.index}` : "name" in ref ? ref.name : ref.altName;

type LinkAttrs = ReturnType<typeof linkAttrs.decode>;
interface LinkHead {
  readonly index?: number;
  readonly family?: number;
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
}

/** The body of a link message. */
export function linkBody(head: LinkHead, attributes: LinkAttrs): Uint8Array {
  const tail = linkAttrs.encode(attributes);
  const out = new Uint8Array(ifinfomsg.size + tail.length);
  const bit = (value: boolean | undefined, flag: number): [number, number] =>
    value === undefined ? [0, 0] : [value ? flag : 0, flag];
  const [up, upMask] = bit(head.up, IFF.UP);
  const [promisc, promiscMask] = bit(head.promiscuous, IFF.PROMISC);
  const [allmulti, allmultiMask] = bit(head.allMulticast, IFF.ALLMULTI);
  ifinfomsg.set(viewOf(out), 0, {
    family: head.family ?? 0,
    type: 0,
    index: head.index ?? 0,
    flags: up | promisc | allmulti,
    change: upMask | promiscMask | allmultiMask,
  });
  out.set(tail, ifinfomsg.size);
  return out;
}

const refHead = (ref: LinkRef): LinkHead => ("index" in ref ? { index: ref.index } : {});
const refAttrs = (ref: LinkRef): LinkAttrs =>
  "name" in ref ? { name: ref.name } : "altName" in ref ? { altName: ref.altName } : {};

export const linkRequest = (
  verb: keyof typeof RTM,
  on: string,
  flags: number,
  payload: Uint8Array,
): Request => ({
  type: RTM[verb],
  flags,
  body: payload,
  what: `RTM_${verb} ${on}`,
});

/** Reads one RTM_NEWLINK message. */
export function decodeLink(m: Pick<Message, "body">): Link {
  const info = ifinfomsg.get(viewOf(m.body), 0);
  const a = linkAttrs.decode(m.body.subarray(ifinfomsg.size));
  const kind = a.linkInfo?.kind;
  const mac = a.address && macFromBytes(a.address);
  const port =
    a.linkInfo?.slaveKind === "bridge" ? bridgePortAttrs.decode(a.linkInfo.slaveData ?? none) : undefined;
  const bridge = kind === "bridge" ? bridgeKind.data.decode(a.linkInfo?.data ?? none) : undefined;
  const { listening, learning, forwarding } = portState;
  return {
    index: info.index,
    name: a.name ?? "",
    altNames: a.propList?.altNames ?? [],
    ...(mac ? { mac } : {}),
    mtuBytes: a.mtu ?? 0,
    up: (info.flags & IFF.UP) !== 0,
    loopback: (info.flags & IFF.LOOPBACK) !== 0,
    promiscuous: (info.flags & IFF.PROMISC) !== 0,
    operState: operState[a.operState ?? 0] ?? "unknown",
    ...(a.master ? { master: a.master } : {}),
    ...(a.link ? { peerIndex: a.link } : {}),
    ...(a.linkNetnsId === undefined ? {} : { peerNetnsId: a.linkNetnsId }),
    ...(kind ? { kind } : {}),
    ...(kind && kind !== "bridge" && kind !== "veth" && a.linkInfo?.data
      ? { kindData: a.linkInfo.data }
      : {}),
    ...(a.alias ? { alias: a.alias } : {}),
    allMulticast: (info.flags & IFF.ALLMULTI) !== 0,
    txQueueLength: a.txQueueLength ?? 0,
    ...(bridge
      ? { bridge: bridge.vlanDefaultPvid === undefined ? {} : { vlanFiltering: bridge.vlanFiltering === 1 } }
      : {}),
    ...(port
      ? {
          port: {
            hairpin: port.hairpin === 1,
            isolated: port.isolated === 1,
            forwarding: port.state === forwarding,
            listening: port.state === listening || port.state === learning,
          },
        }
      : {}),
  };
}
const none = new Uint8Array(0);

/** The link, or undefined if there is none of that name or index. */
export function findLink(socket: NetlinkSocket, ref: LinkRef): Link | undefined {
  const payload = linkBody(refHead(ref), { ...refAttrs(ref), extMask: SKIP_STATS });
  const answer = socket.tryRequest(linkRequest("GETLINK", showRef(ref), 0, payload), "ENODEV");
  return answer === "ENODEV" || answer[0] === undefined ? undefined : decodeLink(answer[0]);
}

/** As `findLink`, for a link that has to be there: throws `netlink/refused` with ENODEV. */
export function getLink(socket: NetlinkSocket, ref: LinkRef): Link {
  const link = findLink(socket, ref);
  if (link === undefined)
    throw new NetError("netlink/refused", { request: `RTM_GETLINK ${showRef(ref)}`, errno: "ENODEV" });
  return link;
}

/** The kernel's own messages, for captures. */
export const linkDump = (socket: NetlinkSocket): Message[] =>
  socket.dump(linkRequest("GETLINK", "all", 0, linkBody({}, { extMask: SKIP_STATS })));

export const listLinks = (socket: NetlinkSocket): Link[] => linkDump(socket).map(decodeLink);

/** Creates a bridge. Throws `netlink/refused` EEXIST if the name is taken. */
export function createBridge(
  socket: NetlinkSocket,
  bridge: { name: string; mac: Mac; mtuBytes?: number; vlanFiltering?: boolean },
): void {
  const data = bridge.vlanFiltering ? { data: bridgeKind.data.encode({ vlanFiltering: 1 }) } : {};
  socket.request(
    linkRequest(
      "NEWLINK",
      bridge.name,
      NLM_F.CREATE | NLM_F.EXCL,
      linkBody(
        {},
        {
          name: bridge.name,
          address: macToBytes(bridge.mac),
          ...(bridge.mtuBytes ? { mtu: bridge.mtuBytes } : {}),
          linkInfo: { kind: bridgeKind.name, ...data },
        },
      ),
    ),
  );
}

export interface VethEnd {
  readonly name: string;
  readonly mac: Mac;
  readonly mtuBytes?: number;
  readonly up?: boolean;
}

/**
 * Creates a pair with one end here and the other in the namespace of `netnsFd`, or here too, in one request. The
 * kernel takes no altname at creation, so that the name alone tells whose link it is until `addAltName`.
 */
export function createVeth(
  socket: NetlinkSocket,
  here: VethEnd & { readonly master?: number },
  there: VethEnd & { readonly netnsFd?: number },
): void {
  const end = (e: VethEnd): LinkAttrs => ({
    name: e.name,
    address: macToBytes(e.mac),
    ...(e.mtuBytes ? { mtu: e.mtuBytes } : {}),
  });
  const peer = {
    info: { family: 0, type: 0, index: 0, flags: 0, change: 0 },
    attrs: { ...end(there), ...(there.netnsFd === undefined ? {} : { netnsFd: there.netnsFd }) },
  };
  socket.request(
    linkRequest(
      "NEWLINK",
      `${here.name} (peer ${there.name})`,
      NLM_F.CREATE | NLM_F.EXCL,
      linkBody(here.up === undefined ? {} : { up: here.up }, {
        ...end(here),
        ...(here.master ? { master: here.master } : {}),
        linkInfo: { kind: vethKind.name, data: vethKind.data.encode({ peer }) },
      }),
    ),
  );
}

export interface LinkChange {
  readonly up?: boolean;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  readonly mac?: Mac;
  readonly mtuBytes?: number;
  readonly txQueueLength?: number;
  /** Index of the bridge, bond or VRF that the link is to belong to; 0: to none. */
  readonly master?: number;
  /** Empty: none. */
  readonly alias?: string;
  /** Moves the link to this namespace, in the same step as the new name if there is one. It is down then. */
  readonly netnsFd?: number;
  readonly name?: string;
}

/** Changes what `change` names and nothing else. A link is named by its index if it is to get another name. */
export function setLink(socket: NetlinkSocket, ref: LinkRef, change: LinkChange): void {
  const { mac, mtuBytes, up, promiscuous, allMulticast, ...rest } = change;
  const attributes = {
    ...refAttrs(ref),
    ...(mac ? { address: macToBytes(mac) } : {}),
    ...(mtuBytes ? { mtu: mtuBytes } : {}),
    ...rest,
  };
  const head = {
    ...refHead(ref),
    ...(up === undefined ? {} : { up }),
    ...(promiscuous === undefined ? {} : { promiscuous }),
    ...(allMulticast === undefined ? {} : { allMulticast }),
  };
  socket.request(linkRequest("NEWLINK", showRef(ref), 0, linkBody(head, attributes)));
}

/** Gives the link a second name of at most 127 bytes (ALTIFNAMSIZ), by which it can be found and removed. */
export function addAltName(socket: NetlinkSocket, ref: LinkRef, altName: string): void {
  const payload = linkBody(refHead(ref), { ...refAttrs(ref), propList: { altNames: [altName] } });
  socket.request(linkRequest("NEWLINKPROP", showRef(ref), NLM_F.CREATE | NLM_F.EXCL | NLM_F.APPEND, payload));
}

/** Takes a second name from the link; one that it does not have is fine. */
export function removeAltName(socket: NetlinkSocket, ref: LinkRef, altName: string): void {
  const payload = linkBody(refHead(ref), { ...refAttrs(ref), propList: { altNames: [altName] } });
  // The kernel says EINVAL for a name that the link does not have.
  socket.tryRequest(linkRequest("DELLINKPROP", showRef(ref), 0, payload), "EINVAL", "ENOENT", "ENODEV");
}

/** Sets flags of a bridge port. */
export function setBridgePort(
  socket: NetlinkSocket,
  index: number,
  port: { readonly hairpin: boolean; readonly isolated: boolean },
): void {
  const data = bridgePortAttrs.encode({ hairpin: Number(port.hairpin), isolated: Number(port.isolated) });
  const payload = linkBody({ index }, { linkInfo: { slaveKind: "bridge", slaveData: data } });
  socket.request(linkRequest("NEWLINK", `#${index} (bridge port)`, 0, payload));
}

/** Removes a link. Returns false if there was none. */
export function removeLink(socket: NetlinkSocket, ref: LinkRef): boolean {
  const payload = linkBody(refHead(ref), refAttrs(ref));
  return socket.tryRequest(linkRequest("DELLINK", showRef(ref), 0, payload), "ENODEV") !== "ENODEV";
}
