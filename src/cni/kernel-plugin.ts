import type { Backend } from "../firewall/model.ts";
import { localMac, type Mac } from "../net/mac.ts";
import type { Context } from "../netstate/context.ts";
import type { Facts, Needs } from "../netstate/facts.ts";
import type { NetState } from "../netstate/model.ts";
import type { Decode } from "./json.ts";
import type { AddCall, DelCall, NetConf, StatusCall } from "./plugin.ts";
import type { Result } from "./result.ts";
import type { Version } from "./version.ts";

/**
 * A plugin that puts a network into the kernel, as data: what it must know, and one pure function from that to a
 * `NetState` and a result. `kernelPlugin` (attach.ts) makes all five verbs of it.
 */
export interface KernelPlugin<Config> {
  readonly type: string;
  readonly about: string;
  readonly versions?: readonly Version[];
  /** The decoders of its keys, as in `Plugin`. */
  readonly options: readonly Decode<unknown>[];
  parse(conf: NetConf): Config;
  /** As `parse`, for a configuration that may have become invalid since ADD. */
  parseForRemoval(conf: NetConf): Config;
  /** The IPAM plugin that the configuration names. */
  ipam?(config: Config): string | undefined;
  /** True for a plugin that makes the interface `CNI_IFNAME` and names it in its result. */
  readonly makesInterface?: boolean;
  /** True for a plugin that comes after another one and cannot work alone. */
  readonly chained?: boolean;
  /** The host's own say about a configuration, in ADD alone and before anything is done; throws if it refuses. */
  admit?(call: AddCall<Config>): void;
  /** True: it is alone in the container's namespace while it reads facts and changes what they say. */
  readonly alone?: boolean;
  /** True: ADD changes what the plan is made from, so that CHECK goes by the record where there is one. */
  readonly checksRecord?: boolean;
  needs(input: PlanInput<Config>): Needs;
  /** Reads nothing but its arguments. */
  plan(input: PlanInput<Config>, facts: Facts): Plan;
  /** Firewalls that may hold rules of an attachment whose record is lost. */
  firewalls(config: Config): readonly Backend[];
  /** Removes what another implementation of the plugin made, when there is no record of ours. */
  removeForeign?(call: DelCall<Config>, context: Context): Promise<void>;
  /**
   * GC: removes what attachments of the configuration shared and nobody uses any more, and what is left of those that
   * have lost their record and carries no plain mark.
   */
  removeUnused?(config: Config, collection: Collection): Promise<void>;
  /** The MAC address that the configuration asks for. */
  mac?(call: AddCall<Config>): Mac | undefined;
  /** True if there is nothing to do in ADD but to pass the previous result on. */
  idle?(config: Config): boolean;
  /** Throws `status/unavailable` or `status/limited`. */
  status?(call: StatusCall<Config>): Promise<void>;
}

/** Which attachments are to stay: marks that begin with `prefix` and are in `valid`. The container's side is not open. */
export interface Collection extends Pick<Context, "spaces"> {
  readonly prefix: string;
  readonly valid: ReadonlySet<string>;
}

/** Everything a plan may depend on beside the facts. */
export interface PlanInput<Config> {
  readonly config: Config;
  readonly conf: NetConf;
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  /** Path of the container's namespace, for the result. */
  readonly netns: string;
  readonly args: string;
  /** What IPAM gave; empty without IPAM. In CHECK, the addresses, routes and DNS of the final result. */
  readonly lease: Result;
  readonly prevResult?: Result;
  /** The MAC address that was asked for. In CHECK, that of the interface in the final result. */
  readonly mac?: Mac;
  /** Names and addresses to take for what is made new. In CHECK, those of the final result. */
  readonly fresh: Fresh;
}

export interface Fresh {
  readonly hostLink: string;
  readonly hostMac: Mac;
  readonly containerMac: Mac;
  readonly bridgeMac: Mac;
  /** Of the host's interface in a VLAN of the bridge. */
  readonly gatewayMac: Mac;
  /** For a link whose index names something outside of its namespace: one that no other link of this machine has. */
  readonly linkIndex: number;
}

export interface Plan {
  readonly state: NetState;
  readonly result: Result;
  /** What may not work as the user expects, one sentence each; ADD goes on and tells it on standard error. */
  readonly warnings?: readonly string[];
}

/** The kernel itself counts from 1. */
const FIRST_INDEX = 0x10000000;

export function freshNames(hostLink: string): Fresh {
  const random = crypto.getRandomValues(new Uint8Array(28));
  const mac = (at: number): Mac => localMac(random.subarray(at, at + 6));
  const linkIndex = FIRST_INDEX + (new DataView(random.buffer).getUint32(24) >>> 2);
  return {
    hostLink,
    hostMac: mac(0),
    containerMac: mac(6),
    bridgeMac: mac(12),
    gatewayMac: mac(18),
    linkIndex,
  };
}
