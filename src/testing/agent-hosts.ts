/**
 * Hosts with agents, each a network namespace, on one switch, with a store in a directory that all of them share:
 *
 *     container 10.244.x.2 ─ cni0 10.244.x.1 ─ host 1 ─ eth0 192.0.2.1 ─┐
 *     container 10.244.y.2 ─ cni0 10.244.y.1 ─ host 2 ─ eth0 192.0.2.2 ─┴ switch
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { NodeRow, Status } from "../agent/status.ts";
import { askForwarder } from "../forwarder/client.ts";
import { UDP_DEVICE } from "../fabric/transport/udp.ts";
import { openFileStore } from "../fabric/store/file.ts";
import type { Kv } from "../fabric/store/kv.ts";
import { startProcess, type TestNetns, testNetns, type TestProcess } from "./netns.ts";
import { plainEnv, run } from "./run.ts";
import { patience } from "./slowdown.ts";
import { tempDir } from "./temp-dir.ts";
import { inside, seenFrom } from "./traffic.ts";

export const PREFIX = "/coreos.com/network";

export interface AgentHost {
  readonly net: TestNetns;
  /** Where what runs on the host has its sockets. */
  readonly runDir: string;
  readonly subnetFile: string;
  /** What an agent keeps for the next one. */
  readonly knownFile: string;
  /** Where its WireGuard key is, if it needs one. */
  readonly keyFile: string;
  /** Runs an agent, by the words of another program if there are some; it is killed at the end of the block that made the hosts. */
  start(within?: readonly string[]): TestProcess;
  /** What an agent answers, or undefined if none does. */
  status(): Promise<Status | undefined>;
  nodes(): Promise<readonly NodeRow[]>;
  /** The codes of what the running agent has told. */
  events(): Promise<readonly string[]>;
  ask(...words: readonly string[]): Promise<string>;
  /** Waits until the status is as it should be. */
  until(what: string, fits: (status: Status) => boolean): Promise<Status>;
  /** The value of a line of the file for the CNI plugin. */
  env(name: string): string | undefined;
  /** A namespace on the host's bridge, with an address of its subnet. */
  container(): Promise<{ readonly net: TestNetns; readonly address: string }>;
  /** The process that carries packets for udp. */
  forwarderPid(): number;
  /** Commands of `ip -batch`. */
  ip(...lines: readonly string[]): Promise<void>;
}

export interface AgentHosts extends AsyncDisposable {
  readonly hosts: readonly AgentHost[];
  readonly store: { readonly kv: Kv; readonly dir: string };
}

export interface HostsWish {
  /** The executable. */
  readonly heddle: string;
  readonly count: number;
  /** The network's configuration, as it stands in the store. */
  readonly network: object;
  /** More keys of the agents' configuration. */
  readonly agent?: object;
  /** The hosts on which these agents are beside others, as many. */
  readonly beside?: readonly AgentHost[];
}

/** Makes hosts without agents; bind it with `await using`. */
export async function agentHosts({
  heddle,
  count,
  network,
  agent = {},
  beside,
}: HostsWish): Promise<AgentHosts> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("agents"));
  const storeDir = dir.in("store");
  const kv = openFileStore({ dir: storeDir });
  stack.defer(() => kv.close());
  await kv.put(`${PREFIX}/config`, JSON.stringify(network));
  const nets = beside?.map(({ net }) => net) ?? (await netsOnSwitch(count, stack));
  const later = new AsyncDisposableStack();
  const hosts: AgentHost[] = [];
  for (const [i, net] of nets.entries()) {
    const n = i + 1;
    const files = {
      config: dir.in(`host${n}.json`),
      socket: dir.in(`host${n}.sock`),
      subnet: dir.in(`host${n}.env`),
      key: dir.in(`host${n}.wgkey`),
      // As hosts have one each; it is short enough for a socket's path.
      run: beside?.[i]?.runDir ?? dir.in(`run${n}`),
      state: dir.in(`state${n}`),
    };
    if (beside === undefined) stack.defer(() => endForwarders(files.run));
    const config = {
      node: `host${n}`,
      store: { type: "file", dir: storeDir },
      interface: { names: ["eth0"] },
      subnetFile: files.subnet,
      wireguardKeyFile: files.key,
      api: { socket: files.socket },
      log: { level: "error" },
      ...agent,
    };
    writeFileSync(files.config, JSON.stringify(config));
    hosts.push(hostOf({ heddle, net, files, stack: later, isFirst: beside === undefined }));
  }
  // What hosts start and make later ends before they do.
  stack.use(later);
  const kept = stack.move();
  return { hosts, store: { kv, dir: storeDir }, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Namespaces with an address each on one switch. */
async function netsOnSwitch(count: number, stack: AsyncDisposableStack): Promise<readonly TestNetns[]> {
  const lan = stack.use(await testNetns());
  await batch(lan, ["link add br0 type bridge", "link set br0 up"]);
  const nets: TestNetns[] = [];
  for (let n = 1; n <= count; n++) {
    const net = stack.use(await testNetns());
    await batch(lan, [
      `link add port${n} type veth peer name eth0 netns ${net.name}`,
      `link set port${n} master br0`,
      `link set port${n} up`,
    ]);
    await batch(net, [`address add 192.0.2.${n}/24 dev eth0`, "link set eth0 up"]);
    await net.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    nets.push(net);
  }
  return nets;
}

interface Made {
  readonly heddle: string;
  readonly net: TestNetns;
  readonly files: {
    readonly config: string;
    readonly socket: string;
    readonly subnet: string;
    readonly key: string;
    readonly run: string;
    readonly state: string;
  };
  readonly stack: AsyncDisposableStack;
  /** It is not beside another agent. */
  readonly isFirst: boolean;
}

/** Empty for one that has ended. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** A process that carries packets for udp outlives its agent; one that was killed has left its socket. */
async function endForwarders(run: string): Promise<void> {
  const dir = `${run}/forwarder`;
  const sockets = existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".sock")) : [];
  for (const name of sockets) await askForwarder(`${dir}/${name}`, { command: "remove" }).catch(() => {});
}

const batch = async (net: TestNetns, lines: readonly string[]): Promise<void> =>
  void (await net.exec(["ip", "-batch", "-"], { stdin: lines.map((line) => `${line}\n`).join("") }));

function hostOf({ heddle, net, files, stack, isFirst }: Made): AgentHost {
  const ask = async (...words: readonly string[]): Promise<string> =>
    (await run([heddle, "agent", ...words, "--socket", files.socket])).stdout;
  const status = async (): Promise<Status | undefined> => {
    const words = ["agent", "status", "--json", "--socket", files.socket];
    const { code, stdout } = await run([heddle, ...words], { mustSucceed: false });
    return code === 0 ? (JSON.parse(stdout) as Status) : undefined;
  };
  const env = (name: string): string | undefined =>
    existsSync(files.subnet)
      ? new RegExp(`^${name}=(.*)$`, "m").exec(readFileSync(files.subnet, "utf8"))?.[1]
      : undefined;
  let containers = 0;
  const names = isFirst ? { bridge: "cni0", port: "c" } : { bridge: "cni1", port: "d" };
  return {
    net,
    runDir: files.run,
    subnetFile: files.subnet,
    knownFile: `${files.state}/agent/flannel.known`,
    keyFile: files.key,
    start(within = []) {
      const argv = [...inside(net.path), ...within, heddle, "agent", "--config", files.config];
      const process = startProcess(argv, {
        ...plainEnv,
        HEDDLE_RUN_DIR: files.run,
        HEDDLE_STATE_DIR: files.state,
      });
      stack.use(process);
      return process;
    },
    status,
    nodes: async () => JSON.parse(await ask("nodes", "--json")) as readonly NodeRow[],
    events: async () =>
      (await ask("events", "--json"))
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => (JSON.parse(line) as { readonly code: string }).code),
    ask,
    async until(what, fits) {
      const end = Date.now() + patience(15_000);
      for (;;) {
        const now = await status();
        if (now !== undefined && fits(now)) return now;
        if (Date.now() > end) throw new Error(`not ${what}: ${JSON.stringify(now, undefined, 2)}`);
        await Bun.sleep(10);
      }
    },
    env,
    async container() {
      const gateway = env("FLANNEL_SUBNET") ?? "";
      const container = stack.use(await testNetns());
      const name = `${names.port}${++containers}`;
      const [a = "", b = "", c = ""] = gateway.split(".");
      const address = `${a}.${b}.${c}.${containers + 1}`;
      const mtu = env("FLANNEL_MTU") ?? "1500";
      if (containers === 1)
        await batch(net, [
          `link add ${names.bridge} type bridge`,
          `address add ${gateway} dev ${names.bridge}`,
          `link set ${names.bridge} up`,
        ]);
      await batch(net, [
        `link add ${name} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${container.name}`,
        `link set ${name} master ${names.bridge}`,
        `link set ${name} up`,
      ]);
      await batch(container, [
        `address add ${address}/24 dev eth0`,
        "link set eth0 up",
        `route add default via ${gateway.split("/")[0] ?? ""}`,
      ]);
      return { net: container, address };
    },
    forwarderPid() {
      const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
      const own = pids.find((pid) => commandOf(pid).includes(`${files.run}/forwarder/${UDP_DEVICE}.sock`));
      return Number(own);
    },
    ip: (...lines) => batch(net, lines),
  };
}

/** True if a server of the container, or of another namespace that has the address, is reached from the namespace. */
export const reaches = async (
  from: TestNetns,
  to: { readonly net: TestNetns; readonly address: string },
): Promise<boolean> => (await seenFrom(from.path, to.net.path, to.address, 8080)) !== undefined;

const SINK = `const [port] = process.argv.slice(1);
let next = 0; const gaps = []; let last = -1; let lost = 0;
await Bun.udpSocket({ port: Number(port), socket: { data(_, bytes) {
  const n = bytes.readUInt32BE(0);
  if (last === -1) console.log("receiving");
  if (n !== next) { gaps.push(next + ".." + (n - 1)); lost += n - next; }
  next = n + 1; last = n;
} } });
console.log("listening");
process.on("SIGTERM", () => {
  const [names, values] = require("node:fs").readFileSync("/proc/net/snmp", "utf8").match(/^Udp: .*$/gm)
    .map((line) => line.split(" "));
  const dropped = Number(values[names.indexOf("RcvbufErrors")]);
  console.log(JSON.stringify({ last, gaps, lost, dropped })); process.exit(0); });`;
/** Datagrams still sent when the end is asked for: what happened before has datagrams on both sides of it. */
const SENT_AFTER = 20;
const SOURCE = `const [host, port, perSecond] = process.argv.slice(1);
const socket = await Bun.udpSocket({ connect: { hostname: host, port: Number(port) } });
const began = performance.now();
let n = 0, end = Infinity;
const bytes = Buffer.alloc(64);
setInterval(() => {
  const due = Math.min(end, Math.floor((performance.now() - began) * Number(perSecond) / 1000));
  while (n < due) { bytes.writeUInt32BE(n, 0); if (!socket.send(bytes)) break; n++; }
  if (n === end) { console.log(n); process.exit(0); }
}, 1);
process.on("SIGTERM", () => { end = n + ${SENT_AFTER}; });`;

/** How long the first datagram may take, in milliseconds. */
const FIRST_MS = 20_000;

/** Datagrams with numbers from one namespace to an address in another, until they are counted. */
export interface NumberedLoad extends AsyncDisposable {
  /** Ends it. */
  count(): Promise<Counted>;
}

export interface Counted {
  readonly sent: number;
  /** The last number that came. */
  readonly last: number;
  /** The ranges of numbers that did not come, and how many they are. */
  readonly gaps: readonly string[];
  readonly lost: number;
  /** Those that arrived, and that the receiving program was too slow to read. */
  readonly dropped: number;
}

export async function numberedLoad(
  from: TestNetns,
  to: { readonly net: TestNetns; readonly address: string },
  perSecond: number,
): Promise<NumberedLoad> {
  const words = (program: string, ...rest: readonly string[]) => [process.execPath, "-e", program, ...rest];
  const sink = Bun.spawn([...inside(to.net.path), ...words(SINK, "9000")], {
    env: { ...plainEnv },
    stdout: "pipe",
  });
  const lines = linesOf(sink.stdout);
  await lines.next();
  const source = Bun.spawn([...inside(from.path), ...words(SOURCE, to.address, "9000", String(perSecond))], {
    env: { ...plainEnv },
    stdout: "pipe",
  });
  const sent = linesOf(source.stdout);
  if ((await Promise.race([lines.next(), Bun.sleep(patience(FIRST_MS))])) === undefined) {
    for (const child of [source, sink]) child.kill("SIGKILL");
    throw new Error(`of the datagrams to ${to.address} none has come`);
  }
  return {
    async count() {
      source.kill("SIGTERM");
      const number = Number((await sent.next()).value);
      // What is still on its way.
      await Bun.sleep(200);
      sink.kill("SIGTERM");
      const told = (await lines.next()).value ?? "{}";
      return { ...(JSON.parse(told) as Omit<Counted, "sent">), sent: number };
    },
    [Symbol.asyncDispose]: async () => {
      for (const child of [source, sink]) child.kill("SIGKILL");
      await Promise.all([source.exited, sink.exited]);
    },
  };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  return undefined;
}
