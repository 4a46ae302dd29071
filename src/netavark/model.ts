/** What netavark asks for, as values: a network of Podman's, and a container on it. */
import type { ResultRoute } from "../cni/result.ts";
import type { Network as HostNetwork } from "../docker/model.ts";
import type { Ip } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";

/** Who gives out addresses: Podman (`host-local`), a DHCP server, or nobody. */
export type Ipam = "host-local" | "dhcp" | "none";

export interface Network {
  readonly name: string;
  readonly ipam: Ipam;
  /** Kept from other networks that say the same. */
  readonly isolated: boolean;
  /** Of the default routes of its containers; absent: the first interface's is preferred. */
  readonly metric?: number;
  readonly defaultRoute: boolean;
  readonly routes: readonly ResultRoute[];
  /** What it is in the host, which is what a network of Docker is. */
  readonly host: HostNetwork;
}

/** One published port, or several that follow one another. */
export interface Published {
  readonly protocols: readonly ("tcp" | "udp" | "sctp")[];
  readonly containerPort: number;
  readonly hostPort: number;
  /** How many; at least 1. */
  readonly range: number;
  /** Absent: every address of the host. */
  readonly hostIp?: Ip;
}

/** A container on a network. */
export interface Connection {
  readonly network: Network;
  readonly containerId: string;
  readonly ifname: string;
  /** As Podman has reserved them. */
  readonly ips: readonly Ip[];
  readonly mac?: Mac;
  readonly published: readonly Published[];
}
