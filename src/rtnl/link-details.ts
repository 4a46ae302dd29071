/** What else a link shows that decides whether a packet passes it: programs on it, and how it behaves as a port of a bridge. */
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, cstr, fixedAttr } from "../wire/attrs.ts";
import { u32, u8, viewOf } from "../wire/fixed.ts";
import { linkBody, linkRequest } from "./link.ts";
import { IFF, ifinfomsg } from "./link-attrs.ts";

/** RTEXT_FILTER_SKIP_STATS. */
const SKIP_STATS = 1 << 3;
const NOARP = 0x80;

const portAttrs = attrs("IFLA_BRPORT", {
  state: [1, fixedAttr(u8)],
  hairpin: [4, fixedAttr(u8)],
  learning: [8, fixedAttr(u8)],
  unicastFlood: [9, fixedAttr(u8)],
  proxyArp: [10, fixedAttr(u8)],
  broadcastFlood: [30, fixedAttr(u8)],
  multicastFlood: [27, fixedAttr(u8)],
  neighbourSuppress: [32, fixedAttr(u8)],
  isolated: [33, fixedAttr(u8)],
  locked: [39, fixedAttr(u8)],
});
/** What a bridge says of br_netfilter for itself, beside the sysctls. */
const bridgeAttrs = attrs("IFLA_BR", {
  callIptables: [36, fixedAttr(u8)],
  callIp6tables: [37, fixedAttr(u8)],
});
const detailAttrs = attrs("IFLA", {
  linkInfo: [
    18,
    attrs("IFLA_INFO", { kind: [1, cstr], data: [2, bytes], slaveKind: [4, cstr], slaveData: [5, bytes] }),
  ],
  xdp: [43, attrs("IFLA_XDP", { attached: [2, fixedAttr(u8)] })],
  extMask: [29, fixedAttr(u32)],
});

export interface LinkDetails {
  /** An eBPF program sees each packet that the link receives before anybody else. */
  readonly xdp: boolean;
  /** Nobody is asked for hardware addresses on it. */
  readonly noArp: boolean;
  /** It has a carrier. */
  readonly running: boolean;
  readonly port?: PortDetails;
  /** Of a bridge: what it forwards passes the hooks of these families. */
  readonly netfilter?: { readonly 4: boolean; readonly 6: boolean };
}
export interface PortDetails {
  readonly forwarding: boolean;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly unicastFlood: boolean;
  readonly broadcastFlood: boolean;
  readonly multicastFlood: boolean;
  /** The bridge answers questions for addresses itself, or takes frames only from hardware addresses that it was told. */
  readonly special: boolean;
}
/** BR_STATE_FORWARDING. */
const FORWARDING = 3;

/** Undefined if there is no such link. */
export function findLinkDetails(socket: NetlinkSocket, index: number): LinkDetails | undefined {
  const request = linkRequest("GETLINK", `#${index}`, 0, linkBody({ index }, { extMask: SKIP_STATS }));
  const answer = socket.tryRequest(request, "ENODEV");
  const body = answer === "ENODEV" ? undefined : answer[0]?.body;
  if (body === undefined) return undefined;
  const { flags } = ifinfomsg.get(viewOf(body), 0);
  const { linkInfo, xdp } = detailAttrs.decode(body.subarray(ifinfomsg.size));
  const p =
    linkInfo?.slaveKind === "bridge" ? portAttrs.decode(linkInfo.slaveData ?? new Uint8Array(0)) : undefined;
  const bridge =
    linkInfo?.kind === "bridge" ? bridgeAttrs.decode(linkInfo.data ?? new Uint8Array(0)) : undefined;
  return {
    ...(bridge ? { netfilter: { 4: bridge.callIptables === 1, 6: bridge.callIp6tables === 1 } } : {}),
    xdp: (xdp?.attached ?? 0) !== 0,
    noArp: (flags & NOARP) !== 0,
    running: (flags & IFF.RUNNING) !== 0,
    ...(p
      ? {
          port: {
            forwarding: p.state === FORWARDING,
            hairpin: p.hairpin === 1,
            isolated: p.isolated === 1,
            unicastFlood: p.unicastFlood !== 0,
            broadcastFlood: p.broadcastFlood !== 0,
            multicastFlood: p.multicastFlood !== 0,
            special: p.proxyArp === 1 || p.neighbourSuppress === 1 || p.locked === 1,
          },
        }
      : {}),
  };
}
