/** What a soak knows: who runs containers, what it did to them, and what it did to those who run them. */

/**
 * `lists`: `heddle cni`, with several lists. `dhcp`: the same with leases of a DHCP server. `pods` and `ctr`: containerd by its
 * CRI, and by its own client.
 */
export const runtimeNames = ["lists", "dhcp", "pods", "ctr", "docker", "podman"] as const;
export type RuntimeName = (typeof runtimeNames)[number];

/** A container as the runtime says that it runs. */
export interface Started {
  /** Without a prefix length, the first of IPv4. */
  readonly addresses: readonly string[];
  /** A word that stands in the command line of what watches over it (a shim, conmon). */
  readonly id: string;
  /** What its page says. */
  readonly page: string;
}

export interface Driver {
  /** How many containers there are at most. */
  readonly most: number;
  /** How many operations go on at once. */
  readonly lanes: number;
  /** Whether containers can have host ports. */
  readonly ports: boolean;
  /** @throws what the runtime says */
  start(name: string, port: number | undefined): Promise<Started>;
  /** Takes away a container, or what an attempt to start it has left. Succeeds on what is not there. */
  stop(name: string): Promise<void>;
  /** The path of its network namespace, if `heddle ps` does not tell it. */
  namespace?(name: string): Promise<string>;
  /** Its containers lose their network when the runtime's daemon ends. */
  readonly livesWithDaemon?: true;
  /** The processes whose end the runtime has to cope with, apart from its daemons; their command line has the id. */
  readonly keeper?: "containerd-shim" | "conmon";
}

export interface Container {
  readonly name: string;
  readonly runtime: RuntimeName;
  readonly port: number | undefined;
  /**
   * `starting`, `stopping`: somebody is at work on it. `live`: it has to serve. `doomed`: its namespace or its keeper was taken
   * away, and it can only be stopped. `unsure`: an operation failed for a reason that is known.
   */
  state: "starting" | "live" | "doomed" | "unsure" | "stopping";
  started: Started | undefined;
}

/** What is done to the runtimes' feet. */
export const troubleNames = [
  "plugin killed",
  "client killed",
  "keeper killed",
  "daemon killed",
  "daemon restarted",
  "rules flushed",
  "namespace deleted",
  "heddle gc",
] as const;
export type TroubleName = (typeof troubleNames)[number];

/** Something that was done to the host, and what may fail because of it. */
export interface Trouble {
  readonly what: TroubleName;
  /** All that these do may fail. */
  readonly runtimes: readonly RuntimeName[];
  /** What is done with this container may fail. */
  readonly container?: string;
  readonly fromMs: number;
  /** Undefined: not over yet. */
  toMs: number | undefined;
}

export interface Operation {
  readonly what: "start" | "stop";
  readonly runtime: RuntimeName;
  readonly container: string;
  readonly fromMs: number;
}

/** One that was killed after it had printed its result has, for a runtime, failed without a word. */
const KILLED =
  /\bsignal: killed|ended (?:by|with) SIGKILL|ended with 137$|failed \((?:add|delete)\): (?:cni plugin \S+ failed)?$/m;
/** Of Docker's client, of Docker about containerd and about its driver, of a connection to the CRI, of the plugin `dhcp`. */
const AWAY = new RegExp(
  [
    "Cannot connect to the Docker daemon|error during connect: .* EOF\\.?$|unexpected EOF",
    "transport is closing|connection refused|connection closed|context canceled|Docker lost this request",
    "containerd does not run|pending stream has been canceled|server is not initialized yet",
    "dhcp daemon is not running|ended before it answered|DHCP daemon is ending",
  ].join("|"),
  "m",
);

/**
 * What an operation says that fails because of it, and for how long afterwards: who talked to a daemon that was away takes a
 * while to notice that it is there again. Nothing may fail because of what is not named here.
 */
const sayings: { readonly [T in TroubleName]?: { readonly words: RegExp; readonly afterMs: number } } = {
  "plugin killed": { words: KILLED, afterMs: 3_000 },
  // Podman then does not know what it has mounted, and can remove such a container at its second attempt.
  "client killed": { words: new RegExp(`${KILLED.source}|device or resource busy`, "m"), afterMs: Infinity },
  "daemon killed": { words: AWAY, afterMs: 3_000 },
  "daemon restarted": { words: AWAY, afterMs: 3_000 },
};

/** Whether a daemon of the operation's runtime was away meanwhile. */
export const wasAway = ({ what, runtimes, toMs }: Trouble, operation: Operation): boolean =>
  what.startsWith("daemon ") &&
  runtimes.includes(operation.runtime) &&
  (toMs ?? Infinity) + (sayings[what]?.afterMs ?? 0) >= operation.fromMs;

/** Whether an operation that has failed at this time, with these words, may have failed because of the trouble. */
export function explains(trouble: Trouble, operation: Operation, failedAtMs: number, words: string): boolean {
  const saying = sayings[trouble.what];
  if (saying?.words.test(words) !== true) return false;
  const touched = trouble.container === operation.container || trouble.runtimes.includes(operation.runtime);
  const over = (trouble.toMs ?? Infinity) + saying.afterMs;
  return touched && trouble.fromMs <= failedAtMs && operation.fromMs <= over;
}
