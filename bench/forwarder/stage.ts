/**
 * Hosts for the benchmark of the forwarder: namespaces with a forwarder each, ours or the plain one in C, and the programs
 * that measure what crosses. Two hosts have a pair of links between them, more a bridge.
 */
import { join } from "node:path";
import { command } from "../../scripts/command.ts";
import { askForwarder, forwarderStatus } from "../../src/forwarder/client.ts";
import { lineLog } from "../../src/testing/line-log.ts";
import { type IperfResult, type Meters, prepareMeters } from "../meters.ts";
import { summarize } from "../stats.ts";

export type Player = "heddle" | "plain";
/** What the underlay does with large packets: passes them on uncut, or neither takes nor joins any. */
export type Underlay = "offloads" | "none";

export interface Programs {
  readonly heddle: string;
  readonly plain: string;
  readonly meters: Meters;
}

const DEVICE = "flannel0";
const PORT = 8285;
const TUN_MTU = 1472;
const RX_PACKETS = `/sys/class/net/${DEVICE}/statistics/rx_packets`;

/** Compiles the plain forwarder and unpacks what measures. */
export async function preparePrograms(heddle: string, dir: string): Promise<Programs> {
  const plain = join(dir, "plain");
  await command(["cc", "-O2", "-o", plain, join(import.meta.dir, "plain.c")]);
  return { heddle, plain, meters: await prepareMeters() };
}

/** What became of datagrams that a program sent as fast as it could; each number is of one second. */
export interface UdpFlow {
  /** Those that the far program read. */
  readonly read: number;
  /** Those that the far device gave to its kernel. */
  readonly carried: number;
  /** Those that waited for the far program in its socket until there was no room: it did not read them in time. */
  readonly unread: number;
  /** What the far program took of one processor, in parts of a hundred. */
  readonly readerBusy: number;
}

export interface Stage extends AsyncDisposable {
  readonly hosts: number;
  /** Gbit/s of TCP from the first host, all peers together. */
  tcp(seconds: number, streams: number, family: 4 | 6): Promise<number>;
  /** Datagrams of so many bytes of payload, from the first host to the second. */
  udp(seconds: number, bytes: number): Promise<UdpFlow>;
  /** Median of the times there and back to the second host, in milliseconds. */
  rtt(pings: number): Promise<number>;
}

let made = 0;

export async function makeStage(
  programs: Programs,
  player: Player,
  underlay: Underlay,
  count: number,
  dir: string,
): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const label = `hfb-${process.pid}-${++made}`;
  const names = Array.from({ length: count }, (_, i) => `${label}-${i + 1}`);
  const wire = `${label}-wire`;
  const controlOf = (n: number): string => join(dir, `${label}-${n}.sock`);
  const { iperf3, ping, env: environment } = programs.meters;
  for (const name of [wire, ...names]) {
    await command(["ip", "netns", "add", name]);
    stack.defer(async () => void (await command(["ip", "netns", "delete", name])));
  }
  await command(["ip", "-n", wire, "link", "add", "wire", "type", "bridge", "forward_delay", "0"]);
  await command(["ip", "-n", wire, "link", "set", "wire", "up"]);
  const inside = (host: number): readonly string[] => ["ip", "netns", "exec", names[host - 1] ?? ""];
  const start = async (host: number, argv: readonly string[], ready: string, from: "stdout" | "stderr") => {
    const child = Bun.spawn([...inside(host), ...argv], {
      env: environment,
      stdin: "ignore",
      stdout: from === "stdout" ? "pipe" : "ignore",
      stderr: from === "stderr" ? "pipe" : "ignore",
    });
    stack.defer(async () => {
      child.kill("SIGKILL");
      await child.exited;
    });
    const stream = from === "stdout" ? child.stdout : child.stderr;
    if (stream === undefined) throw new TypeError(from);
    await lineLog(stream).line((line) => line.includes(ready));
  };
  for (let n = 1; n <= count; n++) {
    await connect(programs, underlay, { name: names[n - 1] ?? "", wire, n, alone: count > 2, environment });
  }
  if (count === 2) await join2(names, programs, underlay, environment);
  for (let n = 1; n <= count; n++) {
    const others = Array.from({ length: count }, (_, i) => i + 1).filter((other) => other !== n);
    if (player === "heddle") await startHeddle(programs, controlOf(n), n, others, start);
    else
      await start(
        n,
        [programs.plain, DEVICE, String(PORT), ...others.flatMap(plainWords)],
        "ready",
        "stdout",
      );
    const ip = async (...words: readonly string[]): Promise<void> =>
      void (await command(["ip", "-n", names[n - 1] ?? "", ...words]));
    await ip("link", "set", DEVICE, "mtu", String(TUN_MTU), "up");
    await ip("route", "replace", "10.5.0.0/16", "dev", DEVICE, "src", `10.5.${n}.1`);
    await ip("-6", "route", "replace", "fd05::/16", "dev", DEVICE, "src", `fd05:${n}::1`);
    await start(n, [iperf3, "-s", "--forceflush"], "Server listening", "stdout");
  }
  const run = async (argv: readonly string[]): Promise<string> => {
    const child = Bun.spawn([...inside(1), ...argv], { env: environment, stdout: "pipe", stderr: "pipe" });
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}\n${err}${out}`);
    return out;
  };
  const iperf = async (...words: readonly string[]): Promise<IperfResult> =>
    JSON.parse(await run([iperf3, "-J", ...words])) as IperfResult;
  const fileOf2 = (path: string): Promise<string> => command([...inside(2), "cat", path]);
  // Of a packet that was joined the device knows nothing, and the forwarder does.
  const carried = async (): Promise<number> =>
    player === "heddle"
      ? (await forwarderStatus(controlOf(2))).received.packets
      : Number(await fileOf2(RX_PACKETS));
  // Of the kernel's sockets only that of the tunnel stays; what all others had no room for is the program's.
  const unread = async (): Promise<number> =>
    receiveErrors(await fileOf2("/proc/net/snmp")) - dropsAt(PORT, await fileOf2("/proc/net/udp"));
  const owned = stack.move();
  return {
    hosts: count,
    async tcp(seconds, streams, family) {
      const peers = Array.from({ length: count - 1 }, (_, i) => i + 2);
      const address = (n: number): string => (family === 4 ? `10.5.${n}.1` : `fd05:${n}::1`);
      const words = (n: number): readonly string[] => [
        "-c",
        address(n),
        "-t",
        String(seconds),
        "-P",
        String(streams),
      ];
      const all = await Promise.all(peers.map(async (n) => iperf(...words(n))));
      return all.reduce((sum, { end }) => sum + end.sum_received.bits_per_second, 0) / 1e9;
    },
    async udp(seconds, bytes) {
      const before = { carried: await carried(), unread: await unread() };
      const words = ["-c", "10.5.2.1", "-u", "-b", "0", "-l", String(bytes), "-t", String(seconds)];
      const { sum, cpu_utilization_percent: busy } = (await iperf(...words)).end;
      return {
        read: ((sum.packets ?? 0) - (sum.lost_packets ?? 0)) / sum.seconds,
        carried: ((await carried()) - before.carried) / sum.seconds,
        unread: ((await unread()) - before.unread) / sum.seconds,
        readerBusy: busy.remote_total,
      };
    },
    async rtt(pings) {
      const out = await run([ping, "-c", String(pings), "-i", "0.002", "10.5.2.1"]);
      return summarize([...out.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]))).median;
    },
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

/** Datagrams for which a socket had no room: RcvbufErrors of /proc/net/snmp. */
function receiveErrors(snmp: string): number {
  const [names = [], values = []] = snmp
    .split("\n")
    .filter((line) => line.startsWith("Udp:"))
    .map((line) => line.split(" "));
  return Number(values[names.indexOf("RcvbufErrors")]);
}

/** The same of the socket at a port alone: the last column of /proc/net/udp. */
function dropsAt(port: number, sockets: string): number {
  const end = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const row = sockets
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .find((words) => words[1]?.endsWith(end));
  return Number(row?.at(-1));
}

interface Ends {
  readonly name: string;
  readonly wire: string;
  readonly n: number;
  /** Not one of two: its link goes to the bridge. */
  readonly alone: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

async function connect(programs: Programs, underlay: Underlay, ends: Ends): Promise<void> {
  const { name, wire, n, alone } = ends;
  const ip = async (...words: readonly string[]): Promise<void> =>
    void (await command(["ip", "-n", name, ...words]));
  await ip("link", "set", "lo", "up");
  await ip("addr", "add", `10.5.${n}.1/32`, "dev", "lo");
  await ip("addr", "add", `fd05:${n}::1/128`, "dev", "lo", "nodad");
  if (!alone) return;
  await ip("link", "add", "eth0", "type", "veth", "peer", "name", `port${n}`, "netns", wire);
  await command(["ip", "-n", wire, "link", "set", `port${n}`, "master", "wire", "up"]);
  await setUp(programs, underlay, name, n, ends.environment);
}

async function setUp(
  { meters }: Programs,
  underlay: Underlay,
  name: string,
  n: number,
  environment: Readonly<Record<string, string>>,
): Promise<void> {
  await command(["ip", "-n", name, "addr", "add", `192.0.2.${n}/24`, "dev", "eth0"]);
  await command(["ip", "-n", name, "link", "set", "eth0", "up"]);
  if (underlay === "offloads") return;
  const words = ["-K", "eth0", "gso", "off", "tso", "off", "gro", "off", "tx-udp-segmentation", "off"];
  const child = Bun.spawn(["ip", "netns", "exec", name, meters.ethtool, ...words], {
    env: { ...environment },
    stderr: "pipe",
  });
  if ((await child.exited) !== 0) throw new Error(`ethtool: ${await child.stderr.text()}`);
}

async function join2(
  [a = "", b = ""]: readonly string[],
  programs: Programs,
  underlay: Underlay,
  environment: Readonly<Record<string, string>>,
): Promise<void> {
  await command(["ip", "-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b]);
  await setUp(programs, underlay, a, 1, environment);
  await setUp(programs, underlay, b, 2, environment);
}

const plainWords = (n: number): readonly string[] => [
  ...[`10.5.${n}.0`, "24", `192.0.2.${n}`],
  ...[`fd05:${n}::`, "64", `192.0.2.${n}`],
];

type Start = (
  host: number,
  argv: readonly string[],
  ready: string,
  from: "stdout" | "stderr",
) => Promise<void>;

async function startHeddle(
  { heddle }: Programs,
  control: string,
  n: number,
  others: readonly number[],
  start: Start,
): Promise<void> {
  const argv = [
    ...[heddle, "forwarder", "--device", DEVICE, "--port", String(PORT), "--mtu", String(TUN_MTU)],
    ...["--control", control, "--state", `${control}.peers`],
  ];
  await start(n, argv, "forwards", "stderr");
  const peers = others.map((other) => ({
    id: `host${other}`,
    subnets: [`10.5.${other}.0/24`, `fd05:${other}::/64`],
    address: `192.0.2.${other}`,
    port: PORT,
    heddle: true,
  }));
  await askForwarder(control, { command: "replace-all", peers });
}
