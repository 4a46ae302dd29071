/**
 * Hosts for tests of the forwarder: namespaces on one wire, each with a subnet whose first address is its own, a TUN
 * device, and whatever program carries its packets. `far` programs measure what crosses.
 */
import { join } from "node:path";
import { askForwarder, forwarderStatus, type ForwarderStatus } from "../forwarder/client.ts";
import type { PeerJson } from "../forwarder/requests.ts";
import { lineLog, type LineLog } from "./line-log.ts";
import { startProcess, type TestNetns, testNetns } from "./netns.ts";
import { plainForwarder } from "./plain-forwarder.ts";
import { plainEnv } from "./run.ts";
import { tempDir } from "./temp-dir.ts";
import { inside } from "./traffic.ts";

export const DEVICE = "flannel0";
export const PORT = 8285;

/** A program that carries packets. */
export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly log: LineLog;
  readonly exited: Promise<number>;
  kill(signal: "SIGTERM" | "SIGKILL" | "SIGSTOP" | "SIGCONT"): void;
}

export interface FabricHost {
  readonly netns: TestNetns;
  /** Its addresses in the fabric, and in the underlay. */
  readonly v4: string;
  readonly v6: string;
  readonly underlay: string;
  readonly control: string;
  /** How another host's forwarder knows it. */
  peer(heddle: boolean): PeerJson;
  /** The forwarder that was started last. */
  readonly running: Running | undefined;
  /** Starts the forwarder and waits until it carries; `words` are further options. */
  forward(...words: readonly string[]): Promise<Running>;
  setPeers(...peers: readonly PeerJson[]): Promise<void>;
  status(): Promise<ForwarderStatus>;
  /** Gives the device its addresses and the fabric's routes: they stay as long as the device does. */
  configure(): Promise<void>;
}

export interface HostsOptions {
  /** The command that is the executable. */
  readonly heddle: readonly string[];
  readonly count: number;
  readonly underlayMtu?: number;
}

/** Makes hosts 1, 2, … whose subnets are 10.5.N.0/24 and fd05:N::/64. Everything ends with the stack. */
export async function fabricHosts(
  stack: AsyncDisposableStack,
  { heddle, count, underlayMtu = 1500 }: HostsOptions,
): Promise<readonly FabricHost[]> {
  const dir = stack.use(tempDir("forwarder"));
  const wire = stack.use(await testNetns());
  await wire.exec(["ip", "link", "add", "wire", "type", "bridge", "forward_delay", "0"]);
  await wire.exec(["ip", "link", "set", "wire", "mtu", String(underlayMtu), "up"]);
  const hosts: FabricHost[] = [];
  for (let n = 1; n <= count; n++) {
    const netns = stack.use(await testNetns());
    const underlay = `192.0.2.${n}`;
    await connect(wire, netns, n, underlayMtu);
    hosts.push(hostOf(stack, { n, netns, underlay, heddle, dir: dir.path }));
  }
  return hosts;
}

/** Hosts whose forwarders are of Heddle and know each other. */
export async function heddleHosts(
  stack: AsyncDisposableStack,
  options: HostsOptions,
): Promise<readonly [FabricHost, FabricHost, ...FabricHost[]]> {
  const hosts = await fabricHosts(stack, options);
  await Promise.all(
    hosts.map(async (host) => {
      await host.forward();
      await host.configure();
      await host.setPeers(...hosts.filter((other) => other !== host).map((other) => other.peer(true)));
    }),
  );
  const [a, b, ...rest] = hosts;
  if (a === undefined || b === undefined) throw new RangeError("two hosts at least");
  return [a, b, ...rest];
}

async function connect(wire: TestNetns, netns: TestNetns, n: number, mtu: number): Promise<void> {
  const ends = ["link", "add", `port${n}`, "mtu", String(mtu), "type", "veth"];
  await wire.exec(["ip", ...ends, "peer", "name", "eth0", "mtu", String(mtu), "netns", netns.name]);
  await wire.exec(["ip", "link", "set", `port${n}`, "master", "wire", "up"]);
  await netns.exec(["ip", "addr", "add", `192.0.2.${n}/24`, "dev", "eth0"]);
  await netns.exec(["ip", "addr", "add", `2001:db8::${n}/64`, "dev", "eth0", "nodad"]);
  await netns.exec(["ip", "link", "set", "eth0", "up"]);
  await netns.exec(["ip", "addr", "add", `10.5.${n}.1/32`, "dev", "lo"]);
  await netns.exec(["ip", "addr", "add", `fd05:${n}::1/128`, "dev", "lo", "nodad"]);
}

interface HostFacts {
  readonly n: number;
  readonly netns: TestNetns;
  readonly underlay: string;
  readonly heddle: readonly string[];
  readonly dir: string;
}

function hostOf(stack: AsyncDisposableStack, { n, netns, underlay, heddle, dir }: HostFacts): FabricHost {
  const control = join(dir, `host${n}.sock`);
  let last: Running | undefined;
  return {
    get running() {
      return last;
    },
    netns,
    v4: `10.5.${n}.1`,
    v6: `fd05:${n}::1`,
    underlay,
    control,
    peer: (isHeddle) => ({
      id: `host${n}`,
      subnets: [`10.5.${n}.0/24`, ...(isHeddle ? [`fd05:${n}::/64`] : [])],
      address: underlay,
      port: PORT,
      heddle: isHeddle,
    }),
    async forward(...words) {
      const argv = [
        ...[...inside(netns.path), ...heddle, "forwarder", "--device", DEVICE, "--port", String(PORT)],
        ...[
          "--control",
          control,
          "--state",
          `${control}.peers`,
          "--own",
          `10.5.${n}.0`,
          `fd05:${n}::`,
          ...words,
        ],
      ];
      const running = start(argv);
      stack.use(running);
      await running.log.line((line) => line.startsWith("forwards"));
      last = running;
      return running;
    },
    async setPeers(...peers) {
      await askForwarder(control, { command: "replace-all", peers });
    },
    status: () => forwarderStatus(control),
    async configure() {
      await netns.exec(["ip", "addr", "add", `10.5.${n}.0/32`, "dev", DEVICE]);
      await netns.exec(["ip", "addr", "add", `fd05:${n}::/128`, "dev", DEVICE, "nodad"]);
      await routes(netns, n);
    },
  };
}

/** The fabric's routes over the device, which is up. */
export async function routes(netns: TestNetns, n: number): Promise<void> {
  await netns.exec(["ip", "route", "add", "10.5.0.0/16", "dev", DEVICE, "src", `10.5.${n}.1`]);
  await netns.exec(["ip", "-6", "route", "add", "fd05::/16", "dev", DEVICE, "src", `fd05:${n}::1`]);
}

function start(argv: readonly string[]): Running {
  const child = Bun.spawn([...argv], {
    env: { ...plainEnv },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  return {
    pid: child.pid,
    log: lineLog(child.stderr),
    exited: child.exited,
    kill: (signal) => child.kill(signal),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** The plain forwarder on a host, with its peers' subnets and addresses. It makes the device, which goes with it. */
export async function forwardPlainly(
  stack: AsyncDisposableStack,
  host: FabricHost,
  ...peers: readonly FabricHost[]
): Promise<void> {
  const words = peers.flatMap(({ v4, underlay }) => [v4.replace(/1$/, "0/24"), underlay]);
  const argv = [...inside(host.netns.path), process.execPath, plainForwarder, DEVICE, String(PORT), ...words];
  const running = stack.use(startProcess(argv));
  await running.printed("ready");
  await host.netns.exec(["ip", "link", "set", DEVICE, "mtu", "1472", "up"]);
  await host.netns.exec(["ip", "route", "add", "10.5.0.0/16", "dev", DEVICE, "src", host.v4]);
}
