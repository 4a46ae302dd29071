/**
 * A link with a DHCP server's host at one end and a container at the other, and Heddle's daemon beside them: what tests of the
 * plugin `dhcp` work on.
 */
import { heddleBinary, type PluginCall, type PluginOutcome, runPlugin } from "./executable.ts";
import { type LineLog, lineLog } from "./line-log.ts";
import { testNetns, type TestNetns } from "./netns.ts";
import { plainEnv, run } from "./run.ts";
import { patience } from "./slowdown.ts";
import { tempDir } from "./temp-dir.ts";

export interface TestDaemon extends AsyncDisposable {
  readonly pid: number;
  readonly log: LineLog;
  /** Waits for a line of the log that contains this. */
  said(text: string, withinMs?: number): Promise<string>;
  /** Ends it and waits; the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
}

export interface DhcpLab extends AsyncDisposable {
  /** Its interface `lan` has 10.9.0.1/16 and fd09::1/64. */
  readonly server: TestNetns;
  /** Its interface `eth0` is up and has no address. */
  readonly container: TestNetns;
  readonly dir: string;
  readonly socketPath: string;
  readonly cniPath: string;
  /** The variables of plugin and daemon. */
  readonly env: Readonly<Record<string, string>>;
  daemon(...args: readonly string[]): Promise<TestDaemon>;
  /** Calls the plugin `dhcp` alone, for the container's `eth0` unless told otherwise. */
  call(command: PluginCall["command"], more?: CallOptions): Promise<PluginOutcome>;
  addresses(): Promise<readonly string[]>;
}
export interface CallOptions {
  readonly ipam?: object;
  /** Keys beside `ipam`. */
  readonly conf?: object;
  readonly call?: Partial<PluginCall>;
  /** The plugin to call. */
  readonly plugin?: string;
}

export async function dhcpLab(): Promise<DhcpLab> {
  await using stack = new AsyncDisposableStack();
  const heddle = stack.use(await heddleBinary());
  const dir = stack.use(tempDir("dhcp"));
  const server = stack.use(await testNetns());
  const container = stack.use(await testNetns());
  // The server's addresses can be used at once.
  await server.exec(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
  const veth = ["type", "veth", "peer", "name", "eth0", "netns", container.name];
  await run(["ip", "link", "add", "lan", "netns", server.name, ...veth]);
  for (const words of [
    ["address", "add", "10.9.0.1/16", "dev", "lan"],
    ["address", "add", "fd09::1/64", "dev", "lan", "nodad"],
    ["link", "set", "lan", "up"],
  ])
    await run(["ip", "-n", server.name, ...words]);
  await run(["ip", "-n", container.name, "link", "set", "eth0", "up"]);
  await untilRunning(server, "lan");
  await untilRunning(container, "eth0");
  const socketPath = dir.in("run", "dhcp.sock");
  const env = { ...plainEnv, HEDDLE_STATE_DIR: dir.in("state"), HEDDLE_RUN_DIR: dir.in("run") };
  const owned = stack.move();
  return {
    server,
    container,
    dir: dir.path,
    socketPath,
    cniPath: heddle.cniPath,
    env,
    daemon: (...args) =>
      startDaemon([heddle.at("heddle"), "dhcp-daemon", "--socketpath", socketPath, ...args], env),
    call: (command, { ipam = {}, conf = {}, call = {}, plugin = "dhcp" } = {}) =>
      runPlugin(
        heddle.at(plugin),
        {
          command,
          containerId: "c1",
          netns: container.path,
          ifname: "eth0",
          cniPath: heddle.cniPath,
          env,
          ...call,
        },
        {
          cniVersion: "1.1.0",
          name: "lan",
          type: plugin === "dhcp" ? "macvlan" : plugin,
          ...conf,
          ipam: { type: "dhcp", daemonSocketPath: socketPath, ...ipam },
        },
      ),
    addresses: async () => {
      const { stdout } = await run(["ip", "-n", container.name, "-j", "address", "show", "dev", "eth0"]);
      const [link] = JSON.parse(stdout) as readonly {
        readonly addr_info: readonly { readonly local: string; readonly scope: string }[];
      }[];
      return (link?.addr_info ?? []).filter((a) => a.scope === "global").map((a) => a.local);
    },
    [Symbol.asyncDispose]: async () => owned[Symbol.asyncDispose](),
  };
}

/** The kernel says a moment later that a link is up; servers never open a socket on one that was not when they started. */
async function untilRunning(on: TestNetns, link: string): Promise<void> {
  const deadline = performance.now() + patience(5_000);
  for (;;) {
    const { stdout } = await run(["ip", "-n", on.name, "-j", "link", "show", "dev", link]);
    const [shown] = JSON.parse(stdout) as readonly { readonly operstate: string }[];
    if (shown?.operstate === "UP") return;
    if (performance.now() > deadline) throw new Error(`${link} is ${shown?.operstate ?? "gone"}`);
    await Bun.sleep(5);
  }
}

/** Starts a daemon and waits until it listens. */
export async function startDaemon(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<TestDaemon> {
  const child = Bun.spawn(["setpriv", "--pdeathsig", "KILL", ...argv], {
    env: { ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const log = lineLog(child.stderr);
  const stop = async (signal: NodeJS.Signals = "SIGTERM"): Promise<number> => {
    child.kill(signal);
    return child.exited;
  };
  const said: TestDaemon["said"] = (text, withinMs) =>
    log.line((l) => l.includes(text), withinMs ?? patience(20_000));
  await said("listens on");
  return {
    pid: child.pid,
    log,
    said,
    stop,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) await stop("SIGKILL");
    },
  };
}
