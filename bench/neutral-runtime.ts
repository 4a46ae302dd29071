/**
 * A runtime that treats everybody alike: for each plugin of a list it starts the executable with the variables of the
 * specification, writes the configuration to its standard input and waits for its end. What is timed is from just before
 * the start to after the exit; merging of configurations and results is outside.
 */
import { join } from "node:path";
import type { NetworkList } from "./cases.ts";

export interface Attachment {
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  /** The port of the host that leads to port 80 of the container. */
  readonly hostPort?: number;
}

export type Verb = "ADD" | "DEL";

/** One program to be run: what is started, with which variables, and what it reads. */
export interface Call {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** Part of an error message with which the program may end all the same. */
  readonly knownComplaint?: string;
}

/** The same few variables for everybody; the reference needs PATH for `nft` and `iptables`. */
export const plainEnv = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };

type PluginConf = NetworkList["plugins"][number];

const portMappings = (hostPort: number) => [
  { hostPort, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" },
];

function confOf(list: NetworkList, plugin: PluginConf, attachment: Attachment, prevResult: unknown): string {
  const { capabilities, ...conf } = plugin;
  const runtimeConfig =
    capabilities === undefined || attachment.hostPort === undefined
      ? {}
      : { runtimeConfig: { portMappings: portMappings(attachment.hostPort) } };
  const prev = prevResult === undefined ? {} : { prevResult };
  return JSON.stringify({ name: list.name, cniVersion: list.cniVersion, ...conf, ...runtimeConfig, ...prev });
}

/** `dir` is the only directory of CNI_PATH. */
export function pluginCall(
  dir: string,
  verb: Verb,
  list: NetworkList,
  plugin: PluginConf,
  attachment: Attachment,
  prevResult: unknown,
): Call {
  return {
    argv: [join(dir, plugin.type)],
    env: {
      ...plainEnv,
      CNI_COMMAND: verb,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netns,
      CNI_IFNAME: attachment.ifname,
      CNI_PATH: dir,
    },
    stdin: confOf(list, plugin, attachment, prevResult),
  };
}

/** Runs a call to its end: how long it took, in milliseconds, and what it printed. @throws if it failed */
export function runSync(call: Call): { readonly ms: number; readonly stdout: string } {
  const { argv, env, stdin } = call;
  const input = Buffer.from(stdin);
  const started = performance.now();
  const child = Bun.spawnSync([...argv], { stdin: input, env: { ...env }, stdout: "pipe", stderr: "pipe" });
  const ms = performance.now() - started;
  if (!child.success) check(call, `${child.stderr.toString()}${child.stdout.toString()}`);
  return { ms, stdout: child.stdout.toString() };
}

/** As `runSync`, beside others. */
export async function runBeside(call: Call, started?: (pid: number) => void): Promise<string> {
  const { argv, env, stdin } = call;
  const child = Bun.spawn([...argv], {
    stdin: Buffer.from(stdin),
    env: { ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  started?.(child.pid);
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) check(call, stderr + stdout);
  return stdout;
}

/** Throws what the program complained about, unless it is known. */
function check({ argv, env, knownComplaint }: Call, output: string): void {
  if (knownComplaint !== undefined && output.includes(knownComplaint)) return;
  throw new Error(`${env["CNI_COMMAND"] ?? ""} ${argv.join(" ")} failed: ${output.trim()}`);
}

/** The plugins in the order of the verb. */
export const inOrder = (list: NetworkList, verb: Verb): readonly PluginConf[] =>
  verb === "ADD" ? list.plugins : list.plugins.toReversed();

/** DEL gets the result of ADD from 0.4.0 on. */
export const knowsPrevResult = (list: NetworkList, verb: Verb): boolean =>
  verb === "ADD" || !/^0\.[123]\./.test(list.cniVersion);
