/**
 * Features of a link, as `ethtool -k` and `-K` name them (linux/ethtool_netlink.h, Linux 5.8). The socket is one of
 * `openNetlink("generic")` of the namespace that the link is in.
 */
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, cstr, fixedAttr, flag, listOf } from "../wire/attrs.ts";
import { u32 } from "../wire/fixed.ts";
import { findFamily, genericAnswer, genericRequest } from "./family.ts";

const FEATURES_GET = { number: 11, name: "ETHTOOL_MSG_FEATURES_GET" } as const;
const FEATURES_SET = { number: 12, name: "ETHTOOL_MSG_FEATURES_SET" } as const;

const header = attrs("ETHTOOL_A_HEADER", { device: [2, cstr] });
const bit = attrs("ETHTOOL_A_BITSET_BIT", { index: [1, fixedAttr(u32)], name: [2, cstr], value: [3, flag] });
const bitset = attrs("ETHTOOL_A_BITSET", {
  /** The bits that are listed are those that are set; there is no mask. */
  noMask: [1, flag],
  size: [2, fixedAttr(u32)],
  bits: [3, listOf("ETHTOOL_A_BITSET_BITS", 1, bit)],
});
export const featureAttrs = attrs("ETHTOOL_A_FEATURES", {
  header: [1, header],
  hardware: [2, bitset],
  wanted: [3, bitset],
  active: [4, bitset],
});

/** The names of the features that are on. */
export function activeFeatures(socket: NetlinkSocket, device: string): readonly string[] {
  const family = findFamily(socket, "ethtool");
  const [answer] = socket.request(genericRequest(family, FEATURES_GET, featureAttrs, { header: { device } }));
  const active = answer === undefined ? undefined : genericAnswer(answer, featureAttrs).active;
  return (active?.bits ?? []).flatMap(({ name }) => name ?? []);
}

/**
 * Switches features on or off. Those that depend on others, or that a link does not have, stay as they are; what is on
 * afterwards is told by `activeFeatures`.
 * @throws netlink/refused EINVAL for a name that this kernel has no feature of
 */
export function setFeatures(
  socket: NetlinkSocket,
  device: string,
  features: Readonly<Record<string, boolean>>,
): void {
  const family = findFamily(socket, "ethtool");
  const bits = Object.entries(features).map(([name, on]) => ({
    name,
    ...(on ? { value: true as const } : {}),
  }));
  socket.request(
    genericRequest(family, FEATURES_SET, featureAttrs, { header: { device }, wanted: { bits } }),
  );
}
