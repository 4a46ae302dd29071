import { attrs, bytes, cstr, fixedAttr, repeated } from "../wire/attrs.ts";
import { i32, pad, struct, u16, u32, u8, type Value } from "../wire/fixed.ts";

/** The link message: `struct ifinfomsg` and its attributes (linux/rtnetlink.h, linux/if_link.h). */
export const ifinfomsg = struct("ifinfomsg", 16, {
  family: u8,
  _pad: pad(1),
  type: u16,
  index: i32,
  flags: u32,
  change: u32,
});
export type IfInfo = Value<typeof ifinfomsg>;

/** Interface flags (linux/if.h). */
export const IFF = {
  UP: 0x1,
  LOOPBACK: 0x8,
  RUNNING: 0x40,
  PROMISC: 0x100,
  ALLMULTI: 0x200,
  LOWER_UP: 0x10000,
} as const;

/** RFC 2863 states of `IFLA_OPERSTATE`. */
export const operState = [
  "unknown",
  "notpresent",
  "down",
  "lowerlayerdown",
  "testing",
  "dormant",
  "up",
] as const;

/** Flags of a bridge port (`IFLA_BRPORT_*`), inside `IFLA_INFO_SLAVE_DATA` or `IFLA_PROTINFO`. */
export const bridgePortAttrs = attrs("IFLA_BRPORT", {
  state: [1, fixedAttr(u8)],
  hairpin: [4, fixedAttr(u8)],
  isolated: [33, fixedAttr(u8)],
});

export const linkInfo = attrs("IFLA_INFO", {
  kind: [1, cstr],
  data: [2, bytes],
  slaveKind: [4, cstr],
  slaveData: [5, bytes],
});

export const linkAttrs = attrs("IFLA", {
  address: [1, bytes],
  name: [3, cstr],
  mtu: [4, fixedAttr(u32)],
  link: [5, fixedAttr(u32)],
  master: [10, fixedAttr(u32)],
  txQueueLength: [13, fixedAttr(u32)],
  operState: [16, fixedAttr(u8)],
  linkInfo: [18, linkInfo],
  alias: [20, cstr],
  netnsFd: [28, fixedAttr(u32)],
  extMask: [29, fixedAttr(u32)],
  linkNetnsId: [37, fixedAttr(i32)],
  propList: [52, attrs("IFLA_PROP_LIST", { altNames: [53, repeated(cstr)] })],
  altName: [53, cstr],
});
