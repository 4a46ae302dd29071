/**
 * What a fabric wants of one host's kernel, as plain lists by kind. The reconciler compares them with the kernel and
 * mends the difference; it removes what it made before and nobody wants any longer.
 */
import type { Ip, IpPrefix } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type { SecretKey, WireguardKey, WireguardKeyPair } from "../net/wireguard-key.ts";
import type { LinkType } from "../rtnl/kinds.ts";

export interface HostState {
  readonly links: readonly FabricLink[];
  /** What links of the kind `wireguard` are besides. */
  readonly tunnels: readonly FabricTunnel[];
  readonly sysctls: readonly FabricSysctl[];
  readonly addresses: readonly FabricAddress[];
  /** Permanent neighbours on links of this state. */
  readonly neighbours: readonly FabricNeighbour[];
  /** Which host of the underlay a hardware address is behind, on links of this state. */
  readonly forwarding: readonly FabricForwarding[];
  /** Peers of the tunnels; a tunnel has no others. */
  readonly peers: readonly FabricPeer[];
  readonly routes: readonly FabricRoute[];
}

/** A link that the fabric makes. One that is there already and fits is taken over, whoever made it. */
export interface FabricLink {
  readonly name: string;
  readonly type: LinkType;
  /** The link of the underlay that it hangs on. */
  readonly lower?: string;
  readonly mac?: Mac;
  readonly mtuBytes: number;
}

export interface FabricTunnel {
  readonly link: string;
  readonly keys: WireguardKeyPair;
  /** UDP. */
  readonly listenPort: number;
}

export interface FabricSysctl {
  /** Path below /proc/sys, with slashes. */
  readonly key: string;
  readonly value: string;
  /** True: a kernel without this parameter is fine, and so is a pod that may not write it. */
  readonly optional?: boolean;
}

export interface FabricAddress {
  readonly link: string;
  readonly address: IpPrefix;
}

export interface FabricNeighbour {
  readonly link: string;
  readonly ip: Ip;
  readonly mac: Mac;
}

export interface FabricForwarding {
  readonly link: string;
  readonly mac: Mac;
  readonly to: Ip;
}

/** Whom a tunnel reaches. */
export interface FabricPeer {
  readonly link: string;
  readonly publicKey: WireguardKey;
  readonly presharedKey?: SecretKey;
  /** Where it says that it is. Behind a translation it may be heard of from elsewhere, and is then sent to there. */
  readonly endpoint: { readonly ip: Ip; readonly port: number };
  /** 0: nothing is sent when there is nothing to send. */
  readonly keepaliveSeconds: number;
  /** What is sent to it, and what it may send; no two peers of a link have the same. */
  readonly allowed: readonly IpPrefix[];
}

/** A route of the main table with the fabric's own protocol number. */
export interface FabricRoute {
  readonly dst: IpPrefix;
  /** Absent: a blackhole. */
  readonly link?: string;
  readonly gateway?: Ip;
  /** The gateway is on the link even if no route says so. */
  readonly onLink?: true;
  readonly src?: Ip;
}

export const nothing: HostState = {
  links: [],
  tunnels: [],
  sysctls: [],
  addresses: [],
  neighbours: [],
  forwarding: [],
  peers: [],
  routes: [],
};
