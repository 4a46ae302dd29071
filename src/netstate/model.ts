import type { FirewallState } from "../firewall/model.ts";
import type { Ip, IpPrefix } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type { PortVlans } from "../rtnl/bridge-vlan.ts";
import type { Dad } from "../rtnl/address.ts";
import type { LinkType } from "../rtnl/kinds.ts";
import type { Route } from "../rtnl/route.ts";
import type { RoutingRule } from "../rtnl/rule.ts";
import type { TokenBucket } from "../rtnl/token-bucket.ts";

/**
 * A network as data. A plan makes a `NetState` and reads nothing; `apply`, `verify` and `remove` are its only
 * interpreters. Every object says where it is and whose it is.
 */
export interface NetState {
  readonly objects: readonly NetObject[];
}

/** The namespace that an object is in: the host's, or the container's. */
export type Place = "host" | "container";

/**
 * `exclusive`: made by this attachment and removed with it. `shared`: ensured, and never removed with one
 * attachment. `borrowed`: the old value is recorded before the change and put back if the value is still ours.
 */
type Possession = "exclusive" | "shared" | "borrowed";
interface Owned<P extends Possession> {
  readonly possession: P;
}

export type NetObject =
  | BridgeObject
  | LinkObject
  | DeviceNodeObject
  | VethObject
  | PortVlansObject
  | VlanGatewayObject
  | SysctlObject
  | TapObject
  | MovedLinkObject
  | LinkAttributesObject
  | LinkUpObject
  | AddressObject
  | RouteObject
  | TakenRouteObject
  | RuleObject
  | VrfMemberObject
  | NeighbourObject
  | QdiscObject
  | FilterObject
  | FirewallObject;

export type NetObjectKind = NetObject["kind"];
export type Of<K extends NetObjectKind> = Extract<NetObject, { kind: K }>;

/**
 * A bridge of the host. One that is there already keeps its MTU, and its MAC address from then on: left alone, it would
 * take that of a port. An exclusive one is new, carries its owner's mark as an altname, and goes with its owner.
 */
export interface BridgeObject extends Owned<"shared" | "exclusive"> {
  readonly kind: "bridge";
  readonly name: string;
  readonly mac: Mac;
  readonly mtuBytes?: number;
  readonly promiscuous: boolean;
  /** False: one that is made looks for nobody else with its link-local address. Absent: as the kernel does. */
  readonly dad?: false;
  /** True: the bridge keeps VLANs apart. One that is there and does not is left as it is, and is no bridge for this. */
  readonly vlanFiltering?: true;
}

/** The VLANs of a bridge port of the host; they go with the port. */
export interface PortVlansObject extends Owned<"exclusive"> {
  readonly kind: "port-vlans";
  /** The name of the port. */
  readonly link: string;
  readonly bridge: string;
  readonly vlans: PortVlans;
  /** True: the VLANs that a new port of the bridge is in stay beside these. */
  readonly keepDefault: boolean;
}

/**
 * The host's own interface in a VLAN of a bridge: one end of a pair, whose other end is a port of the bridge in this VLAN.
 * It is made if it is missing, and goes with the last port in the VLAN, so that its possession is neither of one
 * attachment nor for ever.
 */
export interface VlanGatewayObject extends Owned<"shared"> {
  readonly kind: "vlan-gateway";
  readonly name: string;
  readonly bridge: string;
  /** 1 to 4094. */
  readonly vlan: number;
  readonly mac: Mac;
  readonly mtuBytes?: number;
  readonly keepDefault: boolean;
  /** As of the bridge. */
  readonly dad?: false;
  /** The port of this attachment, which does not count when somebody looks whether the VLAN is in use. */
  readonly port: string;
}

/**
 * A link of one end, such as a macvlan: made in its place with its final name, and down. A shared one is made if it is
 * missing, gets the sysctls of `prepare`, and is brought up.
 */
export interface LinkObject extends Owned<"exclusive" | "shared"> {
  readonly kind: "link";
  readonly place: Place;
  readonly name: string;
  readonly type: LinkType;
  /** A runtime moves it from here into its sandbox by itself: where it is then is not looked for. */
  readonly movesAway?: true;
  /** The link that it hangs on; `place` may differ from the link's own. */
  readonly lower?: { readonly place: Place; readonly name: string };
  readonly mac?: Mac;
  readonly mtuBytes?: number;
  readonly txQueueLength?: number;
  /** A name by which another implementation looks for it; it does without if the name is taken. */
  readonly alsoNamed?: string;
  /** Absent: the kernel chooses. */
  readonly index?: number;
  /**
   * Parameters that a shared link has before it comes up, by their path below `/proc/sys` with slashes. A kernel that
   * lacks one is fine.
   */
  readonly prepare?: Readonly<Record<string, string>>;
}

/**
 * The file by which programs reach a character device that the kernel made with a link, and removes with it. All that is
 * ours of it is to whom it belongs.
 */
export interface DeviceNodeObject extends Owned<"exclusive"> {
  readonly kind: "device-node";
  readonly path: string;
  /** Numbers of the user and the group that may use it; absent: root. */
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * A pair of virtual Ethernet links, one end in the host and one in the container; or both in the host, down at the
 * container's end, where a runtime moves that one into its sandbox by itself.
 */
export interface VethObject extends Owned<"exclusive"> {
  readonly kind: "veth";
  readonly host: { readonly name: string; readonly mac: Mac };
  readonly container: { readonly name: string; readonly mac: Mac; readonly place?: "host" };
  readonly mtuBytes?: number;
  /** The bridge that the host end is a port of. */
  readonly port?: { readonly bridge: string; readonly hairpin: boolean; readonly isolated: boolean };
}

export interface SysctlObject extends Owned<"shared" | "borrowed" | "exclusive"> {
  readonly kind: "sysctl";
  readonly place: Place;
  /** Path below /proc/sys, with slashes. */
  readonly key: string;
  readonly value: string;
  /** True: a kernel without this parameter is fine. */
  readonly optional?: boolean;
}

/** What can be changed on a link that is there. Absent: left as it is. */
export interface LinkAttributes {
  readonly mac?: Mac;
  readonly mtuBytes?: number;
  readonly promiscuous?: boolean;
  readonly allMulticast?: boolean;
  readonly txQueueLength?: number;
}

/** A link of the container whose other end is held by a program there: a virtual machine, mostly. */
export interface TapObject extends Owned<"exclusive"> {
  readonly kind: "tap";
  readonly place: "container";
  readonly name: string;
  readonly mac: Mac;
  readonly mtuBytes?: number;
  readonly multiQueue: boolean;
  /** Who may hold the other end; absent: who may configure the network. */
  readonly owner?: number;
  readonly group?: number;
  /** A bridge of the container that it is a port of. */
  readonly bridge?: string;
}

/** A device of the host that is the container's until DEL, under another name. */
export interface MovedLinkObject extends Owned<"borrowed"> {
  readonly kind: "moved-link";
  readonly place: "container";
  /** Its name in the host. */
  readonly name: string;
  /** Its name in the container. */
  readonly to: string;
  /** The address that it has there, for CHECK. */
  readonly mac?: Mac;
}

/** Attributes of a link that somebody else made. */
export interface LinkAttributesObject extends Owned<"borrowed"> {
  readonly kind: "link-attributes";
  readonly place: Place;
  readonly link: string;
  readonly attributes: LinkAttributes;
}

/**
 * A link that has to be up: one of this state's own, after its sysctls are set, or a borrowed one, such as the
 * loopback of a container, that goes down again with the attachment.
 */
export interface LinkUpObject extends Owned<"exclusive" | "borrowed"> {
  readonly kind: "link-up";
  readonly place: Place;
  readonly link: string;
}

/**
 * An address. An exclusive one goes with its link, or is removed by itself if that is another's (`foreignLink`); a shared
 * one, the gateway on a bridge, stays.
 */
export interface AddressObject extends Owned<"exclusive" | "shared"> {
  readonly kind: "address";
  readonly place: Place;
  readonly link: string;
  readonly foreignLink?: true;
  readonly address: IpPrefix;
  /** Duplicate address detection, for IPv6 alone; only with `true` is its end waited for. */
  readonly dad: Dad;
  /** False: the kernel makes no route to the address's network by itself. */
  readonly connectedRoute: boolean;
  /** Addresses of the link that have to go first, since they contradict this one. */
  readonly replaces?: readonly IpPrefix[];
}

/**
 * A route over a link. It goes with the link, unless that is another plugin's (`foreignLink`) or the link stays
 * (`marked`): then it is removed by what it says. A marked one carries the protocol number that is ours alone and, as its
 * metric, the owner's number, so that it is found without a record.
 */
export interface RouteObject extends Owned<"exclusive"> {
  readonly kind: "route";
  readonly place: Place;
  readonly link: string;
  /** The link is another plugin's: the route is removed by itself, and has to be in its very table. */
  readonly foreignLink?: true;
  readonly dst: IpPrefix;
  readonly gateway?: Ip;
  readonly src?: Ip;
  readonly scope?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly marked?: true;
  /** The gateway is on the link even if no route says so. */
  readonly onLink?: true;
}

/** A route over a link of another plugin, which is out of its table as long as the attachment lives. */
export interface TakenRouteObject extends Owned<"borrowed"> {
  readonly kind: "taken-route";
  readonly place: Place;
  readonly link: string;
  /** As it was; the index of its link is that of the name. */
  readonly route: Omit<Route, "oif">;
}

/**
 * A link of another plugin as a member of a VRF, which is made if it is missing and goes with its last member. On the
 * way in and out the kernel takes the link down and up, and drops its IPv6 addresses and its routes but those to the
 * networks of its addresses: they come back each time, those of the main table in the VRF's table meanwhile.
 */
export interface VrfMemberObject extends Owned<"borrowed"> {
  readonly kind: "vrf-member";
  readonly place: Place;
  readonly link: string;
  readonly vrf: { readonly name: string; readonly table: number };
  readonly addresses: readonly Pick<AddressObject, "address" | "dad" | "connectedRoute">[];
  readonly routes: readonly Omit<Route, "oif">[];
}

/**
 * A rule that leads packets to a routing table. It hangs on no link, so that it is removed by what it says and by the
 * protocol number that is ours alone.
 */
export interface RuleObject extends Owned<"exclusive"> {
  readonly kind: "rule";
  readonly place: Place;
  readonly rule: Omit<RoutingRule, "protocol" | "action">;
}

/**
 * A permanent neighbour: the hardware address of an IP address, without asking for it. One in the container goes with its
 * link.
 */
export interface NeighbourObject extends Owned<"exclusive"> {
  readonly kind: "neighbour";
  readonly place: Place;
  readonly link: string;
  readonly ip: Ip;
  readonly mac: Mac;
}

/**
 * The queueing discipline at the root of a link: what happens to the packets that it is to send. On a link of this state it
 * is exclusive and goes with it; on another link it stands for the kernel's own, which comes back. What a person or
 * another program put there is never replaced.
 */
export interface QdiscObject extends Owned<"exclusive" | "borrowed"> {
  readonly kind: "qdisc";
  readonly place: Place;
  readonly link: string;
  readonly qdisc: TokenBucket;
}

/**
 * Everything that a link receives goes through another link of the same place first, which can queue it. The hook that
 * filters need is made if there is none, and goes again if nobody else uses it then.
 */
export interface FilterObject extends Owned<"borrowed"> {
  readonly kind: "filter";
  readonly place: Place;
  readonly link: string;
  readonly through: string;
}

/** Rules of the host's firewall, marked with their owner. */
export interface FirewallObject extends Owned<"exclusive"> {
  readonly kind: "firewall";
  readonly state: FirewallState;
}
