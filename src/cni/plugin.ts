import type { Decode } from "./json.ts";
import type { Result } from "./result.ts";
import type { Version } from "./version.ts";

/**
 * What a plugin is: a type, the versions it speaks, a parser for its configuration, and one function a verb. The
 * kit (`serve.ts`) does everything else that the specification asks of an executable: the environment, standard
 * input, versions, results, errors. The same object serves as an executable, inside our runtime and as a delegate.
 */
export interface Plugin<Config = unknown> {
  /** The name of the executable, for example `bridge`. */
  readonly type: string;
  /** One line for people who start the program by hand. */
  readonly about: string;
  /** Absent: every version. */
  readonly versions?: readonly Version[];
  /**
   * The decoders of this plugin's keys, each for the configuration as a whole; those of an IPAM plugin read `ipam`. What
   * they know is what `heddle cni validate` accepts and what the plugin's README must list.
   */
  readonly options: readonly Decode<unknown>[];
  /** Reads this plugin's keys; throws `config/invalid` or `config/unsupported`. Must not read the system. */
  parse(conf: NetConf): Config;
  /**
   * As `parse`, for DEL and GC: reads what cleaning up needs from a configuration that may have become invalid
   * since ADD. Absent: `parse`.
   */
  parseForRemoval?(conf: NetConf): Config;
  add(call: AddCall<Config>): Promise<Result>;
  del(call: DelCall<Config>): Promise<void>;
  check?(call: CheckCall<Config>): Promise<void>;
  gc?(call: GcCall<Config>): Promise<void>;
  status?(call: StatusCall<Config>): Promise<void>;
}

/** The JSON object from standard input after the checks of the specification; unknown keys are kept. */
export interface NetConf {
  readonly cniVersion: Version;
  readonly name: string;
  readonly type: string;
  /** Every key as it was read, these three included. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** The key of an attachment, together with the network's name. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifname: string;
}

interface Call<Config> {
  readonly conf: NetConf;
  readonly config: Config;
  /** `CNI_PATH`, split. */
  readonly path: readonly string[];
  /** `CNI_ARGS` as it came: `K=V;K=V`. Read with `parseCniArgs`. */
  readonly args: string;
  /** Runs another plugin (IPAM) for the same attachment with the same configuration. */
  readonly delegate: Delegate;
  /** A line for standard error, where runtimes keep logs: a warning that does not fail the call. */
  readonly log: (message: string) => void;
}
interface AttachmentCall<Config> extends Call<Config>, AttachmentKey {
  /** `CNI_ARGS` and capability arguments are in `args` and `conf.raw.runtimeConfig`. */
  readonly prevResult?: Result;
}
export interface AddCall<Config> extends AttachmentCall<Config> {
  readonly netns: string;
}
export interface CheckCall<Config> extends AttachmentCall<Config> {
  readonly netns: string;
}
export interface DelCall<Config> extends AttachmentCall<Config> {
  /** Absent when the runtime gave none: the namespace is gone. */
  readonly netns?: string;
}
export interface GcCall<Config> extends Call<Config> {
  readonly valid: readonly AttachmentKey[];
}
export type StatusCall<Config> = Call<Config>;

/** Runs the plugin `type` with the verb of the current call, or another one, and the current configuration. */
export interface Delegate {
  add(type: string): Promise<Result>;
  /** `ipam` stands in for the key of that name, when ADD was called with another one than the current configuration has. */
  del(type: string, ipam?: unknown): Promise<void>;
  check(type: string): Promise<void>;
  gc(type: string): Promise<void>;
  status(type: string): Promise<void>;
  /** Runs the plugin with another configuration, given as text, and gives what it printed. */
  run(type: string, command: string, stdin: string): Promise<string>;
}
