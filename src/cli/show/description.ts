import type { Finding } from "../../netstate/health.ts";
import type { Port, State } from "../ps/entry.ts";

/**
 * One attachment from the container's interface to the uplink, as `heddle show --json` prints it and as `draw.ts` draws it.
 * Everything but the first lines is what the kernel has; names and meanings of the keys stay; more may come.
 */
export interface Description {
  readonly key: string;
  /** Null, as the next two, if only the kernel knows of it. */
  readonly network: string | null;
  readonly containerId: string | null;
  readonly ifname: string | null;
  readonly netns: string | null;
  readonly plugins: readonly string[];
  readonly since: string | null;
  readonly state: State;
  readonly why: string | null;
  /** Every difference between the kernel and the records. */
  readonly findings: readonly Finding[];
  /** As the result of ADD told the runtime; what the container reads is the runtime's. */
  readonly dns: Dns | null;
  /** From the container outwards; each is reached from the one before. */
  readonly path: readonly Station[];
  readonly ports: readonly (Port & { readonly live: boolean })[];
  readonly rules: readonly ShownRule[];
  /** Whether the host forwards packets of these families; absent where nothing is routed. */
  readonly forwarding: { readonly ipv4?: boolean; readonly ipv6?: boolean };
}

export interface Dns {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
}

/** A link, with what of it concerns the attachment. */
export interface Station {
  readonly place: "container" | "host";
  /** How one comes here from the station before. */
  readonly by: "start" | "pair" | "port" | "below" | "gateway" | "route";
  readonly link: ShownLink | null;
  /** What it is called where it should be, if it is not there. */
  readonly name: string;
  readonly addresses: readonly ShownAddress[];
  readonly routes: readonly ShownRoute[];
  /** Routing rules, as text. */
  readonly routingRules: readonly string[];
  readonly limits: readonly Limit[];
  /** Of a port of a bridge. */
  readonly port: ShownPort | null;
  /** Of a bridge: how many ports it has. */
  readonly ports: number | null;
}

export interface ShownLink {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, `macvlan`, …; `device` for hardware. */
  readonly kind: string;
  /** Parameters of the kind, such as the mode of a macvlan. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  readonly mac: string | null;
  readonly mtu: number;
  readonly up: boolean;
  /** RFC 2863. */
  readonly operState: string;
}

export interface ShownAddress {
  readonly address: string;
  readonly linkLocal: boolean;
  /** `duplicate`: the kernel refuses to use it, since another machine has it. */
  readonly state: "usable" | "tentative" | "duplicate";
}

export interface ShownRoute {
  readonly dst: string;
  readonly gateway: string | null;
  readonly src: string | null;
  readonly metric: number | null;
  /** 254 is the main table. */
  readonly table: number;
}

export interface ShownPort {
  readonly hairpin: boolean;
  readonly isolated: boolean;
  readonly forwarding: boolean;
  readonly vlan: number | null;
  readonly taggedVlans: readonly number[];
}

export interface Limit {
  readonly direction: "to the container" | "from the container";
  readonly bitsPerSecond: number;
  readonly burstBytes: number;
  /** The link that shapes. */
  readonly on: string;
}

export interface ShownRule {
  readonly plugin: string;
  readonly backend: string;
  readonly where: string;
  readonly text: string;
  /** From a hook of the kernel to the rule; none: no packet comes to it. */
  readonly via: readonly string[];
  readonly leadsTo: readonly string[];
}
