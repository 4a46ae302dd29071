/**
 * A machine for a container runtime to be started on for real: a root file system of Debian's packages with a layer of
 * memory above it, and namespaces of its own of every kind but users. Nothing is installed or started on the machine
 * itself, and whatever happens to the test, all of it ends with it (`keeper.ts`).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { snapshot } from "../../src/testing/host-snapshot.ts";
import { lineLog, type LineLog } from "../../src/testing/line-log.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type Outcome, plainEnv, run, type RunOptions } from "../../src/testing/run.ts";
import { mountPoints } from "../../src/sys/mounts.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groupsAreThere } from "./cgroups.ts";
import type { Kept } from "./keeper.ts";
import { baseTree, GROUND_NEEDS } from "./root-tree.ts";

/** `test` for what needs a ground with this tree (`rootTree`): skipped, with the reason, where none can be made. */
export const groundTest = (tree: string | undefined) =>
  testWith({ ...GROUND_NEEDS, feature: tree === undefined ? "needs packages of Debian" : groupsAreThere() });

export interface Ground extends AsyncDisposable {
  /** The process id of its process 1, as the machine counts. */
  readonly pid: number;
  /** The path of its network namespace, for programs of the machine; another one after `reboot`. */
  readonly net: string;
  /** How a program of the machine, and the test itself, reaches a file of the ground: also its sockets. */
  path(inGround: string): string;
  /** Writes a file of the ground, with the directories above it. */
  write(inGround: string, content: string | Uint8Array, mode?: number): void;
  /** Runs a program of the ground to its end; a failure throws unless `mustSucceed` is false. */
  exec(argv: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** Starts a program of the ground, for example a daemon. It ends with the block, by SIGKILL. */
  start(argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<GroundProcess>;
  /** Ends by SIGKILL every process whose command line matches; they are gone when this returns. */
  kill(commandLine: RegExp): Promise<void>;
  /**
   * What a machine's end and start do: every process, the network with all namespaces, what containers have mounted, `/run` and
   * `/dev/shm` are new; the rest is as it was. With `keepRecords` what is in `/run/heddle` stays as well, as on a machine whose `/run` outlives it.
   */
  reboot(options?: { readonly keepRecords?: boolean }): Promise<void>;
  /** What attachments can leave on it, one line each, sorted: links, routes, rules, files of Heddle and of the cache. */
  snapshot(): Promise<readonly string[]>;
}
export interface GroundProcess extends AsyncDisposable {
  /** The program's own process id, as the machine counts. */
  readonly pid: number;
  /** What it prints, both outputs. */
  readonly log: LineLog;
  /** The code that it ends with. */
  readonly exited: Promise<number>;
  /** Sends it this signal and waits for its end. */
  end(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/**
 * Puts itself into these control groups and goes on as what follows. Who enters namespaces stays in the groups where it was,
 * and from inside nobody may be moved across the border of a namespace of groups.
 */
const JOIN = 'until [ "$1" = -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"';
/** Says that the program is about to begin, and gives it one output. */
const DAEMON = 'exec 2>&1; echo "starting $1"; exec "$@"';

/** What keeps a ground, or its network, there. */
const IDLE = ["busybox", "sleep", "1000000000"];
const ALL = /^(?!.*\bsleep 1000000000).+/;
/** The system's files show the network of who mounted them; the control groups below stay what they are. */
const RESTART = [
  ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
  ["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm"],
  ["mkdir", "/run/groups"],
  ["mount", "--rbind", "/sys/fs/cgroup", "/run/groups"],
  ["mount", "-t", "sysfs", "sysfs", "/sys"],
  ["mount", "--rbind", "/run/groups", "/sys/fs/cgroup"],
  ["umount", "--recursive", "--lazy", "/run/groups"],
  ["rmdir", "/run/groups"],
  ["ip", "link", "set", "lo", "up"],
] as const;
const KEEP = ["cp", "-a", "/run/heddle", "/var/lib/kept"];
const PUT_BACK = ["mv", "/var/lib/kept", "/run/heddle"];

/** Where runtimes give names to the network namespaces that they make. */
const NAMESPACES = "/run/netns";

/** Makes a ground with this tree (`rootTree`) and Heddle installed in `/opt/cni/bin`; bind it with `await using`. */
export async function ground(tree: string | undefined, heddle: HeddleBinary): Promise<Ground> {
  const base = await baseTree();
  if (tree === undefined || base === undefined) throw new Error("a ground needs packages of Debian");
  // The runner of tests takes everything that it has started along; the keeper has to outlive it for a moment.
  const outliving = ["setpriv", "--pdeathsig", "clear"];
  const keeping = [process.execPath, join(import.meta.dir, "keeper.ts"), tree, base, heddle.path];
  const keeper = Bun.spawn([...outliving, ...keeping], {
    env: plainEnv,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const ready = await lineLog(keeper.stdout).line(() => true, patience(30_000));
  const { pid, groups } = JSON.parse(ready) as Kept;
  const path = (inGround: string): string => join(`/proc/${pid}/root`, inGround);
  const spaces = ["--mount", "--pid", "--ipc", "--uts", "--cgroup"];
  const joining = ["sh", "-ec", JOIN, "join", ...groups, "--"];
  let net = `/proc/${pid}/ns/net`;
  const enter = (): readonly string[] => [
    ...joining,
    "nsenter",
    `--target=${pid}`,
    `--net=${net}`,
    ...spaces,
    "--",
  ];
  const exec: Ground["exec"] = (argv, options) => run([...enter(), ...argv], options);
  const kill: Ground["kill"] = async (commandLine) => {
    for (let left = matching(path("/proc"), commandLine); left.length > 0;) {
      await exec(["busybox", "kill", "-KILL", ...left], { mustSucceed: false });
      left = matching(path("/proc"), commandLine);
    }
  };
  await using made = new AsyncDisposableStack();
  made.defer(async () => {
    await keeper.stdin.end();
    if ((await keeper.exited) !== 0) throw new Error("the ground could not be taken away");
  });
  await exec(["heddle", "install", "--cni-bin-dir", "/opt/cni/bin"]);
  const kept = made.move();
  return {
    pid,
    get net() {
      return net;
    },
    path,
    write: (inGround, content, mode = 0o644) => {
      mkdirSync(dirname(path(inGround)), { recursive: true });
      writeFileSync(path(inGround), content, { mode });
    },
    exec,
    start: async (argv, env = plainEnv) => kept.use(await startIn(enter(), argv, env)),
    kill,
    reboot: async ({ keepRecords = false } = {}) => {
      await kill(ALL);
      const holder = kept.use(await startIn(enter(), ["unshare", "--net", "--", ...IDLE], plainEnv));
      await until(() => ownNetwork(holder.pid, pid));
      net = `/proc/${holder.pid}/ns/net`;
      const points = mountsBelow(pid, ["/run", "/var/lib/", "/dev/shm"]);
      const unmount = points.map((point) => ["umount", "--lazy", point]);
      const restart = [...unmount, ...RESTART];
      for (const argv of keepRecords ? [KEEP, ...restart, PUT_BACK] : restart) await exec(argv);
    },
    snapshot: async () => {
      const directories = ["/run/heddle", "/var/lib/cni"].map(path);
      const names = existsSync(path(NAMESPACES)) ? readdirSync(path(NAMESPACES)) : [];
      return [
        ...(await snapshot({ net, exec, directories }, [])),
        ...names.map((name) => `namespace ${name}`),
      ];
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** Whether a process has left the network that the first one is in, for one of its own. */
const ownNetwork = (one: number, first: number): boolean =>
  readlinkSync(`/proc/${one}/ns/net`) !== readlinkSync(`/proc/${first}/ns/net`);

/** Where a process sees file systems at or below these paths, the last one first. */
const mountsBelow = (pid: number, paths: readonly string[]): readonly string[] =>
  mountPoints(pid)
    .filter((point) => paths.some((path) => point.startsWith(path)))
    .toReversed();

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = performance.now() + patience(10_000); !condition(); await Bun.sleep(1))
    if (performance.now() > deadline) throw new Error("the ground did not start again");
}

/** The processes below a /proc whose command line matches. One that has ended and waits for its parent has none. */
function matching(proc: string, commandLine: RegExp): readonly string[] {
  return readdirSync(proc).filter((name) => {
    if (!/^\d+$/.test(name) || name === "1") return false;
    try {
      return commandLine.test(readFileSync(join(proc, name, "cmdline"), "utf8").replaceAll("\0", " "));
    } catch {
      return false; // It has just ended.
    }
  });
}

async function startIn(
  enter: readonly string[],
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<GroundProcess> {
  // Who enters a namespace of processes does it by a child; the program is that child.
  const child = Bun.spawn([...enter, "sh", "-c", DAEMON, "daemon", ...argv], {
    env: { ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const log = lineLog(child.stdout);
  await log.line(() => true, patience(20_000));
  const children = Bun.file(`/proc/${child.pid}/task/${child.pid}/children`);
  const pid = Number(await children.text().catch(() => "0")); // One that ends at once leaves its log.
  const end: GroundProcess["end"] = async (signal) => {
    // The number of one that has ended may be that of any program by now.
    const runs = pid > 0 && child.exitCode === null && child.signalCode === null;
    try {
      if (runs) process.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
    await child.exited;
  };
  return { pid, log, exited: child.exited, end, [Symbol.asyncDispose]: () => end("SIGKILL") };
}
