/**
 * A host with networks of several kinds, and a machine outside, for `heddle trace`: packets are sent for real, and what becomes
 * of them is compared with what the trace says.
 *
 *     outside 10.95.0.2 ─ up0 10.95.0.1  host ─ one, two, walled, closed, apart (bridges), point (ptp), lanes (macvlan)
 */
import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Answer } from "../../src/cli/trace/answer.ts";
import { type CniHost, cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { inside } from "../../src/testing/traffic.ts";

type Json = Readonly<Record<string, unknown>>;

export interface Container {
  readonly netns: TestNetns;
  readonly key: string;
  readonly address: string;
  readonly address6: string | undefined;
}

export interface Flow {
  readonly from: Container;
  readonly to: string;
  readonly port: number;
  readonly protocol?: "tcp" | "udp";
}

/** What really becomes of a packet. */
export type Fate = "answered" | "refused" | "silent";

export interface TraceSite extends AsyncDisposable {
  readonly host: CniHost;
  /** The host's namespace. */
  readonly home: string;
  readonly outside: TestNetns;
  attach(network: string, ports?: readonly Json[]): Promise<Container>;
  /** From now on somebody answers on this port there, of TCP and of UDP. */
  serve(netns: string, port: number): Promise<void>;
  trace(flow: Flow): Promise<Answer>;
  send(flow: Flow): Promise<Fate>;
  /** Loads rules of nft on the host, or in another namespace. */
  nft(text: string, where?: TestNetns): Promise<void>;
}

const DEFAULTS = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];

function networks(dataDir: string): Readonly<Record<string, readonly Json[]>> {
  const ipam = (subnet: string, subnet6?: string): Json => ({
    type: "host-local",
    dataDir,
    ranges: [[{ subnet }], ...(subnet6 === undefined ? [] : [[{ subnet: subnet6 }]])],
    routes: subnet6 === undefined ? DEFAULTS.slice(0, 1) : DEFAULTS,
  });
  const bridge = (name: string, more: Json): Json => ({
    type: "bridge",
    bridge: name,
    isGateway: true,
    ...more,
  });
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  return {
    one: [bridge("one0", { ipMasq: true, ipam: ipam("10.60.0.0/24", "fd60::/64") }), portmap],
    two: [bridge("two0", { ipam: ipam("10.61.0.0/24", "fd61::/64") })],
    point: [{ type: "ptp", ipMasq: true, ipam: ipam("10.62.0.0/24") }],
    lanes: [
      {
        type: "macvlan",
        master: "up0",
        ipam: {
          type: "host-local",
          dataDir,
          ranges: [[{ subnet: "10.95.0.0/24", rangeStart: "10.95.0.16", gateway: "10.95.0.2" }]],
        },
      },
    ],
    walled: [
      bridge("walled0", { ipMasq: true, ipam: ipam("10.63.0.0/24") }),
      { type: "firewall", backend: "nftables", ingressPolicy: "same-bridge" },
    ],
    closed: [
      bridge("closed0", { ipMasq: true, ipam: ipam("10.64.0.0/24") }),
      { type: "firewall", backend: "nftables", ingressPolicy: "isolated" },
    ],
    apart: [bridge("apart0", { portIsolation: true, ipam: ipam("10.65.0.0/24") })],
  };
}

/** @param more networks beside the usual ones, by name: their plugins, given the directory of reservations */
export async function traceSite(
  heddle: HeddleBinary,
  more: (dataDir: string) => Readonly<Record<string, readonly Json[]>> = () => ({}),
): Promise<TraceSite> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const outside = stack.use(await testNetns());
  const home = `/proc/${host.pid}/ns/net`;
  await host.exec(["ip", "-batch", "-"], {
    stdin: [
      `link add up0 type veth peer name lan netns ${outside.name}`,
      "link set up0 up",
      "address add 10.95.0.1/24 dev up0",
      "address add fd95::1/64 dev up0 nodad",
      "",
    ].join("\n"),
  });
  await outside.exec(["ip", "-batch", "-"], {
    stdin: [
      "link set lan up",
      "address add 10.95.0.2/24 dev lan",
      "address add fd95::2/64 dev lan nodad",
      "",
    ].join("\n"),
  });
  await host.exec(["ip", "route", "add", "default", "via", "10.95.0.2"]);
  await host.exec(["ip", "-6", "route", "add", "default", "via", "fd95::2"]);
  await bridgeNetfilter(host, false);
  const confDir = join(host.dir, "net.d");
  mkdirSync(confDir, { recursive: true });
  const dataDir = join(host.dir, "ipam");
  for (const [name, plugins] of Object.entries({ ...networks(dataDir), ...more(dataDir) }))
    writeFileSync(join(confDir, `${name}.conflist`), JSON.stringify({ cniVersion: "1.0.0", name, plugins }));
  const env = { NETCONFPATH: confDir };
  const owned = stack.move();
  const probes = new Map<string, Probe>();
  return {
    host,
    home,
    outside,
    async attach(network, ports = []) {
      const netns = owned.use(await testNetns());
      const capabilities = ports.length > 0 ? { CAP_ARGS: JSON.stringify({ portMappings: ports }) } : {};
      const added = await host.cli(["cni", "add", network, netns.path], { ...env, ...capabilities });
      if (added.code !== 0) throw new Error(`ADD to ${network}: ${added.stderr}${added.stdout}`);
      const entries = JSON.parse((await host.cli(["ps", "--json"], env)).stdout) as readonly Entry[];
      const entry = entries.find((e) => e.netns === netns.path);
      if (entry === undefined) throw new Error(`nothing is attached to ${netns.path}`);
      const addresses = entry.addresses.map((a) => a.split("/")[0] ?? "");
      const address = addresses.find((a) => !a.includes(":")) ?? "";
      return { netns, key: entry.key, address, address6: addresses.find((a) => a.includes(":")) };
    },
    async serve(netns, port) {
      owned.use(await startServer(netns, port));
    },
    async trace({ from, to, port, protocol = "tcp" }) {
      const target = to.includes(":") ? `[${to}]:${port}` : `${to}:${port}`;
      const argv = ["trace", "--from", from.key, "--to", target, "--protocol", protocol, "--json"];
      const { code, stdout, stderr } = await host.cli(argv, env);
      if (code !== 0) throw new Error(`heddle ${argv.join(" ")} ended with ${code}: ${stderr}${stdout}`);
      return JSON.parse(stdout) as Answer;
    },
    async send({ from, to, port, protocol = "tcp" }) {
      let probe = probes.get(from.netns.path);
      if (probe === undefined) {
        probe = owned.use(startProbe(from.netns.path));
        probes.set(from.netns.path, probe);
      }
      return probe.ask(`${protocol} ${to} ${port}`);
    },
    async nft(text, where) {
      const argv = ["nft", "-f", "-"];
      await (where === undefined ? host.exec(argv, { stdin: text }) : where.exec(argv, { stdin: text }));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Whether bridges call the chains of IP; a kernel without the module cannot. */
export async function bridgeNetfilter(host: CniHost, on: boolean): Promise<void> {
  const keys = ["iptables", "ip6tables"].map((k) => `net.bridge.bridge-nf-call-${k}=${Number(on)}`);
  await host.exec(["sysctl", "-qw", ...keys], { mustSucceed: false });
}

const SERVER = `const port = Number(process.argv.at(-1));
Bun.listen({ hostname: "::", port, socket: { open: (s) => { s.end("hello"); }, data: () => {} } });
await Bun.udpSocket({ hostname: "::", port, socket: { data: (s, b, p, a) => { s.send(b, p, a); }, error: () => {} } });
console.log("ready");`;

async function startServer(netns: string, port: number): Promise<AsyncDisposable> {
  const child = Bun.spawn([...inside(netns), process.execPath, "-e", SERVER, String(port)], {
    env: { ...plainEnv },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  if (value === undefined) throw new Error(`no server on port ${port}`);
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** A line `tcp ADDRESS PORT` is answered by one word. A datagram is sent twice: the first may be lost while neighbours are asked for. */
const PROBE = `const wait = Number(process.argv.at(-1));
const tcp = (hostname, port) => new Promise((done) => {
  let told = (word) => { told = () => {}; done(word); };
  setTimeout(() => told("silent"), wait);
  const failed = (e) => told(e?.code === "ECONNREFUSED" ? "refused" : "silent");
  Bun.connect({ hostname, port, socket: { data: (s) => { told("answered"); s.end(); }, error: (_, e) => failed(e),
    connectError: (_, e) => failed(e), close: () => {} } }).catch(failed);
});
const udp = async (hostname, port) => {
  const { promise, resolve } = Promise.withResolvers();
  setTimeout(() => resolve("silent"), wait);
  const socket = await Bun.udpSocket({ connect: { hostname, port }, socket: { data: () => resolve("answered"),
    error: (_, e) => resolve(e?.code === "ECONNREFUSED" ? "refused" : "silent") } });
  socket.send("x");
  const word = await promise;
  socket.close();
  return word;
};
for await (const line of console) {
  const [protocol, host, port] = line.split(" ");
  let word;
  try { word = await (protocol === "tcp" ? tcp : udp)(host, Number(port)); } catch { word = "silent"; }
  console.log(word);
}`;

interface Probe extends AsyncDisposable {
  ask(line: string): Promise<Fate>;
}

function startProbe(netns: string): Probe {
  const wait = String(patience(400, 2_500));
  const child = Bun.spawn([...inside(netns), process.execPath, "-e", PROBE, wait], {
    env: { ...plainEnv },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const reader = child.stdout.getReader();
  const decoder = new TextDecoder();
  let text = "";
  return {
    async ask(line) {
      void child.stdin.write(`${line}\n`);
      await child.stdin.flush();
      while (!text.includes("\n")) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the probe has ended");
        text += decoder.decode(value, { stream: true });
      }
      const [word = ""] = text.split("\n", 1);
      text = text.slice(word.length + 1);
      return word as Fate;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

const agrees: Readonly<Record<Answer["outcome"], readonly Fate[]>> = {
  passes: ["answered", "refused"],
  dropped: ["silent", "refused"],
  "cannot tell": [],
};

/**
 * What the trace says, once it is known to be so: it is asked before the packet is sent, and again when everything that the
 * packet taught is remembered.
 */
export async function told(site: TraceSite, flow: Flow): Promise<Answer> {
  const before = await site.trace(flow);
  const sent = await site.send(flow);
  // The runtime of the tests does not tell of a datagram that is refused.
  const fate = flow.protocol === "udp" && before.listening === false && sent === "silent" ? "refused" : sent;
  const after = await site.trace(flow);
  const story = `${before.outcome}: ${before.by}\n${before.steps.map((s) => `${s.place}: ${s.text}`).join("\n")}`;
  expect(agrees[before.outcome], `the packet is ${fate}, and the trace says ${story}`).toContain(fate);
  if (before.outcome === "passes" && before.listening !== null)
    expect([before.listening, fate]).toEqual(before.listening ? [true, "answered"] : [false, "refused"]);
  expect([after.outcome, after.packet]).toEqual([before.outcome, before.packet]);
  return after;
}
