import type { Ip, IpPrefix } from "../net/ip.ts";
import type { Mac } from "../net/mac.ts";
import type { Condition } from "./conditions.ts";

/**
 * What an attachment wants of the host's firewall, as data. It says nothing of tables and chains: `nftables.ts` and
 * `iptables.ts` each put the same rules into the kernel in their own layout.
 */
export type FirewallRule =
  /** What leaves `subnet` from `address` for somewhere else gets the host's address; multicast is left alone. */
  | { readonly kind: "masquerade"; readonly address: Ip; readonly subnet: IpPrefix }
  /** What reaches `hostPort` on this host goes to the container. */
  | PortMapping
  /** Frames that enter the bridge by port `link` with another source address than `mac` are dropped. */
  | { readonly kind: "mac-check"; readonly link: string; readonly mac: Mac }
  /** Where forwarded packets are dropped unless allowed, those from `address` and the answers to them are allowed. */
  | { readonly kind: "accept-forward"; readonly address: Ip }
  /** Where forwarded packets are dropped unless allowed, those that a host port has led to `address` are allowed. */
  | { readonly kind: "accept-mapped"; readonly address: Ip }
  | IngressPolicy
  /** Whatever is routed from the link elsewhere, or from elsewhere to it, is dropped: in both families, and answers too. */
  | { readonly kind: "closed-link"; readonly link: string }
  /** Frames from one port of a bridge to another are dropped if both ports have this rule. */
  | { readonly kind: "port-isolation"; readonly link: string };

/**
 * What is routed to `address`, which is behind the link `bridge`, from another link with a policy is dropped; with `isolated`,
 * also what is routed from the same link. Links without a policy, such as the uplink, are not concerned.
 */
export interface IngressPolicy {
  readonly kind: "ingress-policy";
  /** The link that the host routes by: a bridge, its own interface in a VLAN of one, or one end of a pair. */
  readonly bridge: string;
  readonly address: Ip;
  readonly isolated: boolean;
}

export interface PortMapping {
  readonly kind: "port-mapping";
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Absent: every address of the host of the target's family. */
  readonly hostIp?: Ip;
  /** 1 to 65535, as `targetPort`. */
  readonly hostPort: number;
  readonly target: Ip;
  readonly targetPort: number;
  /** The prefix on the container's interface: what comes from there through the host port has to be masqueraded. */
  readonly subnet: IpPrefix;
  /** `none`: never masquerade; `local`: what comes from the subnet or from the host's loopback; `all`: everything. */
  readonly masquerade: "none" | "local" | "all";
  /** All of them hold for what is mapped; absent: everything is. */
  readonly conditions?: readonly Condition[];
}

/** `firewalld` can do one thing, which no other can do for it: let packets through its own chains. */
export type Backend = "nftables" | "iptables" | "firewalld";

/** The rules of one attachment, made and removed together. */
export interface FirewallState {
  readonly backend: Backend;
  readonly rules: readonly FirewallRule[];
  /** The network and the container that the rules are for: names of iptables chains, and text for people. */
  readonly network: string;
  readonly containerId: string;
  readonly iptables?: IptablesOptions;
  /** The zone of firewalld that the addresses become sources of; `trusted` if absent. */
  readonly firewalldZone?: string;
}

/** What only the iptables layout can express. */
export interface IptablesOptions {
  /** Bit of the packet mark that asks for masquerading, 0 to 31; 13 if absent. */
  readonly markMasqBit?: number;
  /** A chain of somebody else that sets the mark, for example `KUBE-MARK-MASQ`. */
  readonly externalSetMarkChain?: string;
  /** More matches, as words of iptables-restore, in front of every entry rule. */
  readonly conditionsV4?: readonly string[];
  readonly conditionsV6?: readonly string[];
  /** The chain of the operator's own rules, which come before those of containers; `CNI-ADMIN` if absent. */
  readonly adminChain?: string;
}

/**
 * Names the owner of kernel objects: `heddle-<component>-<12 hex of the network>-<16 hex of the attachment>`. It is
 * the altname of links and the comment of rules and elements.
 */
export type Mark = string;

/** A live attachment, or one that is being made. */
export interface LivingOwner {
  readonly containerId: string;
  /** How to name it to people. */
  readonly name: string;
}

/** Who is behind a mark; undefined if that attachment does not live. */
export type Alive = (mark: Mark) => LivingOwner | undefined;

export interface FirewallBackend {
  /**
   * Makes the rules, all or nothing. A host port of a live attachment is `port/taken`; that of a dead one is taken
   * over. Rules that are there already under the same mark are replaced.
   *
   * A container may be in several networks, and each of them is asked for its ports: the first keeps them. Returns the
   * marks of those of the same container that hold a port of `state` alone; once they go, `apply` gives it to this one.
   */
  apply(state: FirewallState, mark: Mark, alive: Alive): readonly Mark[];
  /**
   * Throws `port/taken` if a live attachment has a host port of `state` in this backend, whichever backend `state` is
   * for. Ports of dead attachments are left to `apply`, or do no harm.
   */
  refuseTaken(state: FirewallState, mark: Mark, alive: Alive): void;
  /** Throws `check/differs` for the first rule that is missing or differs. A port may be the same container's elsewhere. */
  verify(state: FirewallState, mark: Mark, alive: Alive): void;
  /** Removes what `state` names and is still ours; without it, everything that carries the mark. Nothing there: fine. */
  remove(mark: Mark, state?: FirewallState): void;
  /** Removes everything whose mark begins with `prefix` and is not in `valid`. */
  prune(prefix: string, valid: ReadonlySet<Mark>): void;
}
