/**
 * `heddle/netlink`: the kernel's network configuration by rtnetlink, in the namespace that the process is in. Links,
 * addresses, routes, rules, neighbours and queueing disciplines, what is said when they change, and the codecs for
 * messages of one's own.
 */
export { isNetError, NetError } from "../errors.ts";
export type { Parsed } from "../net/brand.ts";
export { contains, type Family, type Ip, type IpPrefix, parseIp, parsePrefix, prefix } from "../net/ip.ts";
export { type Mac, parseMac } from "../net/mac.ts";
export { type NetlinkEvent, type NetlinkWatch, watchNetlink, type WatchOptions } from "../netlink/events.ts";
export { type Message, NLM_F, type Request } from "../netlink/message.ts";
export { NetlinkSocket, openNetlink, openRaw } from "../netlink/socket.ts";
export { Fd } from "../sys/fd.ts";
export { addAddress, type Address, type Dad, listAddresses, removeAddress } from "../rtnl/address.ts";
export { createLink, type NewLink } from "../rtnl/create-link.ts";
export type { LinkType } from "../rtnl/kinds.ts";
export type { Ipip } from "../rtnl/kinds/ipip.ts";
export type { Ipvlan } from "../rtnl/kinds/ipvlan.ts";
export type { Macvlan } from "../rtnl/kinds/macvlan.ts";
export type { Plain } from "../rtnl/kinds/plain.ts";
export type { Vlan } from "../rtnl/kinds/vlan.ts";
export type { Vrf } from "../rtnl/kinds/vrf.ts";
export type { Vxlan } from "../rtnl/kinds/vxlan.ts";
export {
  createBridge,
  createVeth,
  decodeLink,
  findLink,
  getLink,
  type Link,
  type LinkChange,
  type LinkRef,
  listLinks,
  removeLink,
  setLink,
  type VethEnd,
} from "../rtnl/link.ts";
export {
  listNeighbours,
  type Neighbour,
  type NeighbourState,
  type NewNeighbour,
  removeNeighbour,
  setNeighbour,
} from "../rtnl/neighbour.ts";
export {
  addQdisc,
  type ClassifierHook,
  findQdisc,
  listQdiscs,
  type Qdisc,
  type QdiscPlace,
  type QdiscType,
  removeQdisc,
} from "../rtnl/qdisc.ts";
export {
  addRoute,
  appendRoute,
  listRoutes,
  lookUpRoute,
  type NewRoute,
  removeRoute,
  type Route,
  routeProtocol,
  routeScope,
} from "../rtnl/route.ts";
export { addRule, listRules, removeRule, type RoutingRule } from "../rtnl/rule.ts";
export { tokenBucket, type TokenBucket } from "../rtnl/token-bucket.ts";
export {
  align4,
  type Attr,
  attrs,
  type AttrValue,
  bytes,
  cstr,
  DecodeError,
  fixedAttr,
  flag,
  listOf,
  repeated,
} from "../wire/attrs.ts";
export {
  be16,
  be32,
  be64,
  encodeFixed,
  type Fixed,
  i16,
  i32,
  octets,
  pad,
  struct,
  u16,
  u32,
  u64,
  u8,
  type Value,
  viewOf,
} from "../wire/fixed.ts";
