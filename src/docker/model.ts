/**
 * What Docker asks for, as values: a network, an endpoint, a host port, a pool. Each is read from the JSON that Docker sent,
 * and that JSON is what is kept on disk and told to children, so that there is one decoder and one truth.
 */
import type { Ip, IpPrefix } from "../net/ip.ts";
import type { IfName } from "../net/ifname.ts";
import type { Mac } from "../net/mac.ts";
import type { IpvlanMode } from "../rtnl/kinds/ipvlan.ts";
import type { MacvlanMode } from "../rtnl/kinds/macvlan.ts";

/** One subnet of a network, as its IPAM driver gave it. */
export interface Subnet {
  readonly pool: IpPrefix;
  /** With the prefix length of the subnet. */
  readonly gateway?: IpPrefix;
}

/** A route that every container of the network gets; without a gateway its destination is on the link. */
export interface ExtraRoute {
  readonly dst: IpPrefix;
  readonly gateway?: Ip;
}

interface Common {
  /** Docker's own; 64 hexadecimal digits. */
  readonly id: string;
  /** Containers get no way out of the network. */
  readonly internal: boolean;
  readonly subnets: readonly Subnet[];
  /** Absent: 1500, or that of the parent. */
  readonly mtuBytes?: number;
  /** What the names of the containers' interfaces begin with. */
  readonly prefix: string;
  readonly routes: readonly ExtraRoute[];
}

export interface BridgeNetwork extends Common {
  readonly mode: "bridge";
  readonly bridge: IfName;
  readonly masquerade: boolean;
  /** False: containers of the network do not reach each other. */
  readonly betweenContainers: boolean;
  /** Where host ports are opened if `-p` names no address; absent: everywhere. */
  readonly hostBinding?: Ip;
}
/** Containers hang on a link of the host, which they do not reach themselves. */
export type ParentNetwork = Common & { readonly parent: IfName } & (
    | { readonly mode: "macvlan"; readonly kind: MacvlanMode }
    | { readonly mode: "ipvlan"; readonly kind: IpvlanMode }
    /** As macvlan, on the link of one VLAN of the parent. */
    | { readonly mode: "vlan"; readonly vlan: number; readonly link: IfName }
  );
export type Network = BridgeNetwork | ParentNetwork;

/** What `-p` asks for. A host port of 0 is any. */
export interface AskedPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  readonly hostIp?: Ip;
  readonly hostPort: number;
  /** The last one that may be taken instead of `hostPort`. */
  readonly hostPortEnd: number;
}

/** A host port that leads to an endpoint. */
export interface OpenPort {
  readonly protocol: AskedPort["protocol"];
  readonly containerPort: number;
  readonly hostIp?: Ip;
  readonly hostPort: number;
}

export interface Endpoint {
  readonly networkId: string;
  readonly id: string;
  readonly addresses: readonly IpPrefix[];
  /** Absent where the container's link has the address of its parent (ipvlan). */
  readonly mac?: Mac;
  /** What `-p` asked for when the endpoint was made. */
  readonly asked: readonly AskedPort[];
}
