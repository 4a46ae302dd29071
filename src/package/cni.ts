/**
 * `heddle/cni`: for those who write plugins and runtimes. A plugin is an object, made by hand (`Plugin`) or from data
 * (`kernelPlugin`), and `runPlugin` makes a program of it. A runtime executes plugins as processes of their own: a
 * process that lives on must not enter a container's namespace, in which its threads could be left behind, so that with
 * this library only a plugin's program ever does.
 */
import { stayOutside } from "../sys/netns.ts";

stayOutside("a process that uses heddle/cni runs plugins as processes of their own, or is one by runPlugin");

export { parseCniArgs } from "../cni/args.ts";
export type { CacheKey } from "../cni/cache.ts";
export type { Env, FileId, Host } from "../cni/host.ts";
export { kernelPlugin } from "../cni/attach.ts";
export {
  type Always,
  anyObject,
  anything,
  type Decode,
  dictionary,
  type Field,
  flag,
  type Inner,
  integer,
  invalid,
  type JsonObject,
  list,
  object,
  type ObjectOf,
  oneOf,
  parsed,
  refined,
  required,
  type Shape,
  text,
  withDefault,
} from "../cni/json.ts";
export type { Collection, Fresh, KernelPlugin, Plan, PlanInput } from "../cni/kernel-plugin.ts";
export { type NetworkList, parseNetworkList, type PluginConf } from "../cni/list.ts";
export { configFiles, loadNetwork, readNetworkFile } from "../cni/load.ts";
export type {
  AddCall,
  AttachmentKey,
  CheckCall,
  DelCall,
  Delegate,
  GcCall,
  NetConf,
  Plugin,
  StatusCall,
} from "../cni/plugin.ts";
export { parseResult, printResult } from "../cni/result-codec.ts";
export {
  type Dns,
  emptyResult,
  type Result,
  type ResultInterface,
  type ResultIp,
  type ResultRoute,
} from "../cni/result.ts";
export {
  addNetworkList,
  type Attachment,
  cachedAttachments,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  type Runtime,
  type RememberedAttachment,
  statusNetworkList,
  validateNetworkList,
} from "../cni/runtime.ts";
export { serve, type ServeInput, type ServeOutput } from "../cni/serve.ts";
export { type Version, versions } from "../cni/version.ts";
export { type ErrorCode, isNetError, NetError } from "../errors.ts";
export type { Condition } from "../firewall/conditions.ts";
export type {
  Alive,
  Backend,
  FirewallBackend,
  FirewallRule,
  FirewallState,
  IngressPolicy,
  IptablesOptions,
  LivingOwner,
  Mark,
  PortMapping,
} from "../firewall/model.ts";
export type { ForwardKeeper } from "../firewall/forward-keeper.ts";
export type { Parsed } from "../net/brand.ts";
export { type IfName, parseIfName } from "../net/ifname.ts";
export { contains, type Family, type Ip, type IpPrefix, parseIp, parsePrefix, prefix } from "../net/ip.ts";
export { type Mac, parseMac } from "../net/mac.ts";
export { type BelowInterface, factKey, type Facts, type Needs } from "../netstate/facts.ts";
export type { Context } from "../netstate/context.ts";
export type { Device } from "../netstate/device.ts";
export type { Firewalls } from "../netstate/firewalls.ts";
export type { Spaces } from "../netstate/spaces.ts";
export type { Netns } from "../sys/netns.ts";
export type { PortVlans } from "../rtnl/bridge-vlan.ts";
export type { DeviceFound, DeviceWanted } from "../netstate/find-device.ts";
export type {
  AddressObject,
  BridgeObject,
  DeviceNodeObject,
  FilterObject,
  FirewallObject,
  LinkAttributes,
  LinkAttributesObject,
  LinkObject,
  LinkUpObject,
  MovedLinkObject,
  NeighbourObject,
  NetObject,
  NetObjectKind,
  NetState,
  Of,
  Place,
  PortVlansObject,
  QdiscObject,
  RouteObject,
  RuleObject,
  SysctlObject,
  TakenRouteObject,
  TapObject,
  VethObject,
  VlanGatewayObject,
  VrfMemberObject,
} from "../netstate/model.ts";
export { runPlugin } from "./run-plugin.ts";
export { executing, type ExecutingOptions } from "./executing.ts";
