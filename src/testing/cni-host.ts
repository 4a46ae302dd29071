/**
 * A machine for plugins to work on: a process that sleeps in a network namespace and a mount namespace of its own, with
 * directories for records, reservations and the runtime's cache. `host-snapshot.ts` says what is left on it.
 */
import { readFileSync, readlinkSync } from "node:fs";
import type { HeddleBinary, PluginCall } from "./executable.ts";
import { snapshot } from "./host-snapshot.ts";
import { type Outcome, plainEnv, run, type RunOptions } from "./run.ts";
import { ensureNetnsDirectory } from "./netns.ts";
import { patience } from "./slowdown.ts";
import { tempDir } from "./temp-dir.ts";

export interface CniHost extends AsyncDisposable {
  /** A directory of the test: records in `run`, reservations in `ipam`. */
  readonly dir: string;
  /** The process in whose namespaces everything happens. */
  readonly pid: number;
  /** Runs a program on the host; a failure throws unless `mustSucceed` is false. */
  exec(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Calls a plugin as a runtime does; `under` are words in front of it, for example of strace. */
  call(program: string, call: PluginCall, conf: object, under?: readonly string[]): Promise<PluginReply>;
  /** Runs `heddle` with these variables beside the usual ones; `under` as in `call`. */
  cli(
    argv: readonly string[],
    env: Readonly<Record<string, string>>,
    under?: readonly string[],
    stdin?: string,
  ): Promise<Outcome>;
  /** Everything that attachments can leave on the host and in these namespaces, one line each, sorted. */
  snapshot(containers?: readonly string[]): Promise<readonly string[]>;
}

export interface PluginReply {
  readonly code: number;
  /** The code of the error object; undefined after success, and when there was no error object. */
  readonly error: number | undefined;
  readonly message: string;
  readonly result: Readonly<Record<string, unknown>> | undefined;
}

/** Sets the host up; bind it with `await using`. */
export async function cniHost(heddle: HeddleBinary): Promise<CniHost> {
  await ensureNetnsDirectory();
  const dir = tempDir("host");
  // A test that is killed takes its hosts along.
  const bound = ["setpriv", "--pdeathsig", "KILL"];
  const apart = ["unshare", "--net", "--mount", "--propagation", "slave"];
  const child = Bun.spawn([...bound, ...apart, "sleep", "infinity"], {
    env: plainEnv,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  });
  const { pid } = child;
  const exec: CniHost["exec"] = (argv, options) =>
    run(["nsenter", `--target=${pid}`, "--net", "--mount", "--", ...argv], options);
  await started(pid);
  // The runtime's cache is in /var/lib/cni, whatever host this is.
  await exec(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"]);
  await exec(["ip", "link", "set", "lo", "up"]);
  const env = { ...plainEnv, HEDDLE_RUN_DIR: dir.in("run"), CNI_PATH: heddle.cniPath };
  const on = {
    net: `/proc/${pid}/ns/net`,
    exec,
    directories: [dir.in("run"), dir.in("ipam"), `/proc/${pid}/root/var/lib`],
  };
  return {
    dir: dir.path,
    pid,
    exec,
    call: async (
      program,
      { command, containerId, netns, ifname, args, timeoutMs, env: more },
      conf,
      under = [],
    ) => {
      const variables = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netns,
        CNI_IFNAME: ifname,
        CNI_ARGS: args,
        ...more,
      };
      const given = Object.entries(variables).filter((p): p is [string, string] => p[1] !== undefined);
      const file = program.startsWith("/") ? program : heddle.at(program);
      const outcome = await exec([...under, file], {
        env: { ...env, ...Object.fromEntries(given) },
        stdin: JSON.stringify(conf),
        mustSucceed: false,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      });
      return replyOf(outcome);
    },
    cli: (argv, more, under = [], stdin) =>
      exec([...under, heddle.at("heddle"), ...argv], {
        env: { ...env, ...more },
        mustSucceed: false,
        ...(stdin === undefined ? {} : { stdin }),
      }),
    snapshot: (containers = []) => snapshot(on, containers),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
      dir[Symbol.dispose]();
    },
  };
}

/** Waits until the process is in its own namespaces. */
async function started(pid: number): Promise<void> {
  const deadline = performance.now() + patience(5_000);
  while (readFileSync(`/proc/${pid}/comm`, "utf8") !== "sleep\n") {
    if (performance.now() > deadline)
      throw new Error(`unshare did not start: ${readlinkSync(`/proc/${pid}/exe`)}`);
    await Bun.sleep(1);
  }
}

function replyOf({ code, stdout, stderr }: Outcome): PluginReply {
  let json: Record<string, unknown> | undefined;
  try {
    json = JSON.parse(stdout) as Record<string, unknown>;
  } catch {
    json = undefined; // Most verbs print nothing.
  }
  if (code === 0) return { code, error: undefined, message: "", result: json };
  const error = typeof json?.["code"] === "number" ? json["code"] : undefined;
  const words = [json?.["msg"], json?.["details"], stderr].filter((w) => typeof w === "string" && w !== "");
  return { code, error, message: words.join(" | "), result: undefined };
}
