/**
 * What joins the containers of a lab's hosts: which files a host gets, which programs are started in it, and when it is ready.
 * A further provider is a file beside `none.ts` and a line here.
 */
import type { LabSpec, ProviderName } from "./model.ts";
import { flannel } from "./providers/flannel.ts";
import { none } from "./providers/none.ts";
import type { HostPlan, Underlay } from "./underlay.ts";

export interface Provider {
  /** True if containers of different hosts reach one another by it. */
  readonly joinsHosts: boolean;
  /** What `--backend` is unless told; empty: there is none to choose. */
  readonly defaultBackend: string;
  /** Whether it can make such a network at all; absent: always. @throws usage/invalid, naming the option */
  check?(spec: LabSpec): Promise<void>;
  /** What a host gets. Pure. */
  setup(input: HostInput): Setup;
  /** What the router gets, before all hosts; absent: nothing. Pure. */
  router?(input: LabInput): Setup;
  /** Runs in the router once it is ready, before the programs of hosts are started. */
  prepare?(input: LabInput): Promise<void>;
}
export interface LabInput {
  readonly spec: LabSpec;
  readonly underlay: Underlay;
  /** The directory that all hosts share, the same path in each. */
  readonly shared: string;
}
export interface HostInput extends LabInput {
  readonly host: HostPlan;
  /** Counted from 1, in the order of the plan. */
  readonly number: number;
}
export interface Setup {
  /** By their path in the host, below one of its own directories. */
  readonly files: Readonly<Record<string, string>>;
  /** In this order, once the files are there. Words of `heddle` itself begin with `heddle`. */
  readonly programs: readonly { readonly name: string; readonly argv: readonly string[] }[];
  /** Files of the host that are there once containers can be attached. */
  readonly readyWhen: readonly string[];
  /** How to ask the host whether it knows all others: a program of `heddle`, and whether what it printed says so. */
  readonly joined?: { readonly argv: readonly string[]; readonly isSo: (printed: string) => boolean };
}

const providers: { readonly [N in ProviderName]: Provider } = { none, flannel };

export const providerOf = ({ provider }: Pick<LabSpec, "provider">): Provider => providers[provider];
