/**
 * A network that spans hosts, as data: who is in it, with which subnets, and what each has told of how to reach it. A
 * transport makes of a `View` what this host's kernel should hold.
 */
import type { Ip, IpPrefix } from "../net/ip.ts";

/** One prefix a family; at least one of the two is there. */
export interface Subnets {
  readonly v4?: IpPrefix;
  readonly v6?: IpPrefix;
}

/** The addresses of a host in the underlay. */
export interface Publics {
  readonly v4?: Ip;
  readonly v6?: Ip;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** How a host is reached, in its transport's own words: read by that transport alone, and hostile until it has. */
export interface BackendData {
  /** The transport's name, as `vxlan`; empty for Flannel's `udp` and `alloc`. */
  readonly type: string;
  readonly v4?: Json;
  readonly v6?: Json;
}

/** A host of the fabric, as it announces itself. */
export interface FabricNode {
  /** What its lease or its node is called in the store; for people, and to tell one from another. */
  readonly id: string;
  readonly subnets: Subnets;
  readonly publics: Publics;
  readonly backend: BackendData;
}

/** The cluster as one host sees it. Peers are checked: no two of them contradict each other or this host. */
export interface View {
  /** The whole network, out of which the subnets are. */
  readonly network: Subnets;
  readonly self: FabricNode;
  /** The others, in the order in which they were given. */
  readonly peers: readonly FabricNode[];
}

/** What the store holds of a node, and nobody can read. */
export interface UnreadableNode {
  readonly id: string;
  readonly why: string;
}

/**
 * Something that the store holds and nobody can use. It is told, counted, and left out; the rest goes on. Nodes that share a public
 * address (`public-address-twice`) are told alone.
 */
export interface Trouble {
  readonly code:
    | "node-malformed"
    | "subnet-overlap"
    | "subnet-outside"
    | "public-address-own"
    | "public-address-twice"
    | "backend-other"
    | "backend-malformed"
    | "backend-conflict"
    | "unreachable";
  /** The `id` of the node that it is about. */
  readonly node: string;
  readonly why: string;
}
