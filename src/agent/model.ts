/**
 * The agent as data: what it knows, what happens to it, and what it wants done. `step.ts` goes from one to the next without
 * a clock, a kernel or a store.
 */
import type { HostState } from "../fabric/host-state.ts";
import type { Report } from "../fabric/reconcile/report.ts";
import type { FabricNode, Publics, Subnets, Trouble, UnreadableNode, View } from "../fabric/model.ts";
import type { viewOf } from "../fabric/view.ts";
import type { HostFacts, Transport } from "../fabric/transport/transport.ts";
import type { ForwarderStatus } from "../forwarder/client.ts";
import type { Parsed } from "../net/brand.ts";
import type { Ip, IpPrefix } from "../net/ip.ts";
import type { Announcement, Lease, LeaseNews, NodeNews } from "../providers/flannel/registry.ts";
import type { CommandsState, NetworkCommands } from "./commands/job.ts";
import type { CommandReport } from "./commands/runner.ts";
import type { CommandWish } from "../fabric/commands/wish.ts";
import type { Telling } from "./tellings.ts";

/** A network's configuration as its provider has read it: what the agent needs of it, and nothing else. */
export interface Network {
  /** All addresses of the network, out of which the hosts' subnets are. */
  readonly whole: Subnets;
  readonly transport: Transport;
  /** The firewall's rules are to be nftables'. */
  readonly nftables: boolean;
  /** For a transport whose packets a process carries, not the kernel: what it has to know. */
  readonly carriage?: (view: View, host: HostFacts) => CarrierWish;
  /** For a transport whose data path an operator's commands make. */
  readonly commands?: NetworkCommands;
  /** Two networks with the same key have the same rules and file for the same host. */
  readonly key: string;
}

/** What the process that carries packets is to do. */
export interface CarrierWish {
  /** The device whose packets it carries; it makes it. */
  readonly device: string;
  readonly mtuBytes: number;
  /** Where it takes datagrams. */
  readonly listen: Ip;
  readonly port: number;
  /** This host's addresses on the device. */
  readonly own: readonly Ip[];
  /** Those that say the same as before are the same objects. */
  readonly peers: readonly CarriedPeer[];
  /** Peers that it knows besides stay: they may be newer than what is known here. */
  readonly keep?: true;
}

/** A host that it carries packets to. */
export interface CarriedPeer {
  readonly id: string;
  readonly subnets: readonly string[];
  readonly address: string;
  readonly port: number;
  readonly heddle: boolean;
}

/** This host, as it was looked at last. */
export interface Host {
  readonly facts: HostFacts;
  /** The addresses under which it announces itself. */
  readonly publics: Publics;
  /** Its node in the store, where a node has a name of its own; absent: it is known by its addresses. */
  readonly id?: string;
  /** The networks of the addresses on its links. */
  readonly locals: readonly { readonly link: string; readonly prefix: IpPrefix }[];
  /** Two looks with the same key saw the same. */
  readonly key: string;
}

/** What the agent does beside one another. */
export const jobNames = [
  "config",
  "host",
  "nodes",
  "release",
  "lease",
  "hold",
  "kernel",
  "carrier",
  "commands",
  "firewall",
  "file",
  "memory",
] as const;
export type JobName = (typeof jobNames)[number];

/** Times in milliseconds since the epoch. */
export interface Job {
  readonly running: boolean;
  /** How often it has failed in a row. */
  readonly failures: number;
  /** When it is to be done next, for what is done from time to time. */
  readonly due: number;
  /** Not sooner than this, whatever asks for it. */
  readonly notBefore: number;
}

/** `drained`: the subnet is given back, and nothing of the fabric is left on this host. */
export type Mode = "running" | "draining" | "drained" | "stopping";

export interface ConfigState {
  readonly text: string;
  readonly network: Network;
}

export interface AgentState {
  readonly mode: Mode;
  readonly jobs: Readonly<Record<JobName, Job>>;
  /** Why a job failed last, as it was told; none after it was done. */
  readonly complaints: Readonly<Partial<Record<JobName, string>>>;
  /** The last configuration that could be used. */
  readonly config?: ConfigState;
  /** The one with which the subnet was taken: kernel, firewall and file go by it until there is a subnet by the next. */
  readonly joined?: ConfigState;
  /** The one in the store if it cannot be used; without a text there is none. */
  readonly refusedConfig?: { readonly text: string | undefined; readonly why: string };
  readonly host?: Host;
  /** This host as it is announced, or was until it lost its subnet: the data plane goes on with it. */
  readonly self?: FabricNode;
  /** Absent while no subnet is this host's. */
  readonly lease?: Lease;
  /** Subnets that this host had when the agent began. */
  readonly before?: Subnets;
  /** What was announced with the lease. */
  readonly announced?: string;
  /** Absent until the store has told all of them once. */
  readonly nodes?: ReadonlyMap<string, FabricNode | UnreadableNode>;
  /** Until a subnet is this host's again: what an earlier agent knew, which stands for what the store has not told yet. */
  readonly recalled?: Pick<Recalled, "at" | "nodes">;
  /** What the next agent will find, and what is being written for it; absent: not known. */
  readonly kept?: Known | "nothing";
  readonly keeping?: Known | "nothing";
  readonly view?: View;
  readonly troubles: readonly Trouble[];
  readonly kernel: KernelState;
  /** Why the kernel is not heard: what others change there is noticed at the next look only. */
  readonly deaf: Readonly<Partial<Record<KernelNews, string>>>;
  /** What the carrying process is to do, what it does, and what it is being told; absent: not known yet. */
  readonly carriage?: Carriage;
  readonly carried?: Carriage;
  readonly carrying?: Carriage;
  /** What that process said last; absent: there is none, or it has failed since. */
  readonly forwarder?: ForwarderStatus;
  readonly commands: CommandsState;
  /** The file that containers' addresses are made of, and the firewall's rules, as they stand: keys of offers. */
  readonly published?: string;
  readonly protected?: string;
  readonly repairs: FirewallRepairs;
  /** What of the firewall nobody here can make right. */
  readonly hindrances: readonly string[];
  /** What the running jobs will have done: the announcement, the file, the rules. */
  readonly doing: Readonly<Partial<Record<"lease" | "file" | "firewall", string>>>;
  readonly store: StoreState;
  readonly ready: boolean;
}

/** How often the firewall's rules had to be put right of late. */
export interface FirewallRepairs {
  /** When, within the last minute. */
  readonly at: readonly number[];
  /** How many times in a row of a fight. */
  readonly level: number;
  /** What others change is not looked at before. */
  readonly heldUntil: number;
}

/** What is kept for an agent that starts while the store is away. */
export interface Known {
  /** The text of the configuration by which the subnet was taken. */
  readonly config: string;
  readonly lease: Lease;
  readonly nodes: ReadonlyMap<string, FabricNode | UnreadableNode>;
}

/** The same, as it was found. */
export interface Recalled extends Known {
  /** When it was written, in milliseconds since the epoch. */
  readonly at: number;
}

/** Without a wish: there is to be no such process. */
export interface Carriage {
  readonly wish: CarrierWish | undefined;
}

/** What of the store answers or does not: it may be read while nothing can be written, and a file while nothing else answers. */
export type StorePart = "config" | "nodes" | "lease";

export type StoreState =
  | { readonly up: true; readonly since: number }
  | { readonly up: false; readonly since: number; readonly why: string; readonly by: StorePart };

export interface KernelState {
  /** All of it is to be looked at, whatever the time. */
  readonly full: boolean;
  /** When all of it is to be looked at in any case. */
  readonly fullAt: number;
  /** What the last or running reconciliation wants: the state of a member of the fabric, or nothing. */
  readonly goal: "member" | "nothing";
  /** The lease that the kernel was last reconciled with, with the carrier's device there; what could not be done is in `problems`. */
  readonly triedFor?: string;
  /** True when nothing of the fabric is left. */
  readonly empty: boolean;
  /** What the kernel refused; it is tried again. */
  readonly problems: readonly Problem[];
  /** Links of the fabric, by the last reconciliation. */
  readonly links: readonly string[];
  /** What somebody else changes again and again. */
  readonly fights: readonly string[];
}

/** What the kernel tells of by itself: links, addresses and routes; the firewall's rules. */
export type KernelNews = "objects" | "rules";

/** An object of the kernel, as `route 10.1.2.0/24`, and what is the matter with it. */
export interface Problem {
  readonly what: string;
  readonly why: string;
}

export type AgentEvent =
  | { readonly kind: "time" }
  /** What an earlier agent of this host has left: before anything else. */
  | { readonly kind: "recalled"; readonly what: Recalled }
  | { readonly kind: "config-read"; readonly text: string }
  /** The store answers, and has no configuration of the network: where it is looked for, and how to put it there. */
  | { readonly kind: "config-missing"; readonly why: string }
  /** `tookMs`, here and below: how long the look took; none that counts unless told. */
  | { readonly kind: "host-read"; readonly host: Host; readonly tookMs?: number }
  | { readonly kind: "nodes"; readonly news: NodeNews }
  | { readonly kind: "acquired"; readonly lease: Lease }
  | { readonly kind: "lease"; readonly news: LeaseNews }
  /**
   * `objects`: some of the fabric's own, which the reconciler has taken note of; `host`: a link, an address or a route of the
   * host; `rules`: the firewall.
   */
  | { readonly kind: "kernel-changed"; readonly what: "objects" | "host" | "rules" }
  /** The kernel tells of these from now on; or, with `why`, it does not any more. */
  | { readonly kind: "listened"; readonly to: KernelNews; readonly why?: string }
  /** The process that carries packets has ended. */
  | { readonly kind: "carrier-lost" }
  | { readonly kind: "reconciled"; readonly report: Report; readonly tookMs: number }
  | { readonly kind: "done"; readonly job: "file" | "release" | "memory" }
  /** The process that carries packets runs, and has said how it is; or there is none, and nothing was said. */
  | { readonly kind: "done"; readonly job: "carrier"; readonly forwarder?: ForwarderStatus }
  | { readonly kind: "commanded"; readonly report: CommandReport }
  /** The firewall is as it should be; what had to be changed for it, for people. */
  | {
      readonly kind: "protected";
      readonly mended: readonly string[];
      /** What nobody here can make right, with what to do; nothing unless told. */
      readonly hindrances?: readonly string[];
      readonly tookMs?: number;
    }
  | { readonly kind: "failed"; readonly job: JobName; readonly why: string }
  | { readonly kind: "drain" }
  | { readonly kind: "stop"; readonly why: string };

/** What a host offers to its containers, and what its firewall is to do for them. */
export interface Offer {
  readonly network: Network;
  readonly self: FabricNode;
  /** Of containers, in bytes. */
  readonly mtuBytes: number;
}

export type Effect =
  | { readonly kind: "read-config" }
  /** Which of its links leads to the others depends on the families of the network. */
  | {
      readonly kind: "look-at-host";
      readonly whole: Subnets;
      /** Its keys are needed, too. */
      readonly withKeys: boolean;
      /** What it announces if the store, which may say something else, does not answer. */
      readonly instead?: Publics;
      /** Its addresses until now, which others that come do not replace. */
      readonly before?: Publics;
    }
  | { readonly kind: "watch-nodes" }
  | {
      readonly kind: "acquire";
      readonly wanted: Announcement;
      readonly before: Subnets | undefined;
    }
  | { readonly kind: "hold"; readonly lease: Lease }
  | {
      readonly kind: "reconcile";
      readonly wanted: HostState;
      /** False: only what changed since last time, without asking the kernel what it has. */
      readonly full: boolean;
      /** What is not wanted stays: it may be newer than what is known. */
      readonly keep: boolean;
    }
  /** Absent: take it away. */
  | { readonly kind: "publish"; readonly offer: Offer | undefined }
  | { readonly kind: "protect"; readonly offer: Offer | undefined }
  /** Absent: nothing is to be found by the next agent. */
  | { readonly kind: "remember"; readonly known: Known | undefined }
  /** Absent: end it. */
  | { readonly kind: "carry"; readonly wish: CarrierWish | undefined }
  /** Absent: take away what they did. */
  | { readonly kind: "command"; readonly wish: CommandWish | undefined }
  | { readonly kind: "release"; readonly lease: Lease }
  | { readonly kind: "tell"; readonly telling: Telling }
  | { readonly kind: "ready"; readonly ready: boolean }
  /** Nothing more will be asked for. */
  | { readonly kind: "end" };

/** What the core asks of its provider: pure functions. */
export interface Rules {
  /** The network's configuration, from the text in the store. */
  readonly readNetwork: (text: string) => Parsed<Network>;
  /** The cluster without what contradicts this host or somebody who was there before. */
  readonly viewOf: typeof viewOf;
  /** How often to look again at what nobody tells of, in milliseconds. */
  readonly periods: Readonly<Record<"config" | "host" | "kernel" | "firewall" | "carrier", number>>;
}

/** The moment of an event: milliseconds since the epoch, and a number from 0 to 1 by chance. */
export interface Now {
  readonly at: number;
  readonly chance: number;
}

export interface Step {
  readonly state: AgentState;
  readonly effects: readonly Effect[];
  /** When `time` is to be told, if nothing else happens before. */
  readonly wakeAt: number;
}
