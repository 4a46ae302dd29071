/** What an agent is told when it starts, whether by its configuration file or by flanneld's flags. */
import { FABRIC_PROTOCOL, type Owner } from "../fabric/reconcile/place.ts";
import type { FlanneldOptions } from "../providers/flannel/options.ts";
import type { LogFormat } from "./log.ts";
import type { Level } from "./tellings.ts";

/** A directory with the keys of etcd: for hosts that share a file system, one host or a lab. */
export interface FileStoreSettings {
  readonly kind: "file";
  readonly dir: string;
  readonly prefix: string;
}

export interface AgentSettings {
  /** What this host is called: for people, and as its node's name in Kubernetes. */
  readonly node: string;
  /** By what this fabric's objects in the kernel are known; two agents of one host differ in both. */
  readonly owner: Owner;
  readonly flannel: Omit<FlanneldOptions, "store" | "health" | "verbosity"> & {
    readonly store: FlanneldOptions["store"] | FileStoreSettings;
  };
  /** Where the agent is asked; `group` may look, too. */
  readonly api: { readonly socket: string; readonly group?: string };
  /** Health and metrics; absent: they are not served. */
  readonly http?: { readonly host: string; readonly port: number };
  /** `changes`: a line for each change of the kernel, too. */
  readonly log: { readonly format: LogFormat; readonly least: Level; readonly changes: boolean };
}

/** Where commands find the agent of this host. */
export const DEFAULT_SOCKET = "/run/heddle-agent/agent.sock";

/** What the objects of a host's only fabric are known by. */
export const DEFAULT_OWNER: Owner = { name: "flannel", routeProtocol: FABRIC_PROTOCOL };
