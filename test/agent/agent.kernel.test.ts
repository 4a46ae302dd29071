/** The agent as a process: hosts that are namespaces, a store in a directory, real packets. */
import { describe, expect } from "bun:test";
import { existsSync, readFileSync, renameSync } from "node:fs";
import type { Status } from "../../src/agent/status.ts";
import { agentHosts, type AgentHost, numberedLoad, PREFIX, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
type Container = Awaited<ReturnType<AgentHost["container"]>>;
const isReady = (status: Status): boolean => status.ready;

const hostsWith = (backend: object, count = 2, agent: object = {}, network: object = {}) =>
  agentHosts({
    heddle: heddle.path,
    count,
    network: { Network: "10.244.0.0/16", Backend: backend, ...network },
    agent,
  });

/** Starts every agent and waits until all know of one another. */
async function ready(hosts: readonly AgentHost[]): Promise<void> {
  for (const host of hosts) host.start();
  for (const host of hosts)
    await host.until("ready with all peers", (s) => s.ready && s.nodes.peers === hosts.length - 1);
}

/** A system bus that takes calls and never answers. `asked`: somebody has called. */
function silentBus() {
  const stack = new DisposableStack();
  const dir = stack.use(tempDir("bus"));
  const asked = Promise.withResolvers<void>();
  const path = dir.in("bus.sock");
  const listener = Bun.listen({ unix: path, socket: { open: () => asked.resolve(), data() {} } });
  stack.defer(() => listener.stop(true));
  return { path, asked: asked.promise, [Symbol.dispose]: () => stack.dispose() };
}

describe.each([
  ["host-gw", { Type: "host-gw" }, 1500],
  ["vxlan", { Type: "vxlan" }, 1450],
  ["udp", { Type: "udp" }, 1472],
] as const)("agents over %s", (_, backend, mtu) => {
  kernelTest("join three hosts, whose containers reach one another", async () => {
    await using made = await hostsWith(backend, 3);
    await ready(made.hosts);
    expect(made.hosts.map((host) => host.env("FLANNEL_MTU"))).toEqual([`${mtu}`, `${mtu}`, `${mtu}`]);
    const containers = await Promise.all(made.hosts.map((host) => host.container()));
    for (const from of containers)
      for (const to of containers) if (to !== from) expect(await reaches(from.net, to)).toBe(true);
  });

  kernelTest("reach a host whose public address a node that is gone has, too, and tell it", async () => {
    await using made = await hostsWith(backend);
    await ready(made.hosts);
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    const [from, to] = [await one.container(), await two.container()];
    const { subnet } = await two.until("ready", isReady);
    const { kv } = made.store;
    const live = await kv.get(`${PREFIX}/subnets/${subnet?.replace("/", "-") ?? ""}`);
    const gone = live?.value.replace(/("VtepMAC":"..:..:..:..:..:)../, "$1aa") ?? "";
    // Its name comes before all others.
    await kv.put(`${PREFIX}/subnets/10.244.0.0-24`, gone);
    await one.until("with both", (s) => s.nodes.peers === 2);
    while (!(await one.events()).includes("node-doubtful"));
    expect(await reaches(from.net, to)).toBe(true);
  });

  kernelTest("are killed under load without a lost packet, and the next one takes over", async () => {
    await using made = await hostsWith(backend);
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    const first = one.start();
    two.start();
    for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
    const [from, to] = [await one.container(), await two.container()];
    expect(await reaches(from.net, to)).toBe(true);
    const subnet = one.env("FLANNEL_SUBNET");
    const objects = async () => (await one.net.exec(["ip", "-d", "route"])).stdout;
    const before = await objects();
    await using load = await numberedLoad(from.net, to, 2_000);
    await first[Symbol.asyncDispose]();
    expect(await one.status()).toBeUndefined();
    expect(await objects()).toBe(before);
    one.start();
    await one.until("ready again", (s) => s.ready && s.nodes.peers === 1);
    expect(await objects()).toBe(before);
    expect(one.env("FLANNEL_SUBNET")).toBe(subnet);
    const { sent, last, gaps, lost, dropped } = await load.count();
    expect({ gaps, lost }).toEqual({ gaps, lost: dropped });
    expect(last).toBe(sent - 1);
  });

  kernelTest("put right within a second what somebody takes away", async () => {
    await using made = await hostsWith(backend);
    await ready(made.hosts);
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    const [from, to] = [await one.container(), await two.container()];
    const routes = async () => (await one.net.exec(["ip", "route", "show", "proto", "73"])).stdout;
    const before = await routes();
    const breakIt =
      backend.Type === "vxlan" ? ["route flush proto 73", "link del flannel.1"] : ["route flush proto 73"];
    for (const what of breakIt) {
      await one.ip(what);
      const began = performance.now();
      while ((await routes()) !== before)
        if (performance.now() - began > patience(1_000)) throw new Error(`not after ${what}`);
      while (!(await reaches(from.net, to)))
        if (performance.now() - began > 5_000) throw new Error(`no packet passes after ${what}`);
    }
    expect(await one.events()).toContain("kernel-repaired");
  });
});

kernelTest("the process that carries packets for udp is started again when it dies", async () => {
  await using made = await hostsWith({ Type: "udp" });
  await ready(made.hosts);
  const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
  const [from, to] = [await one.container(), await two.container()];
  expect(await reaches(from.net, to)).toBe(true);
  const pid = one.forwarderPid();
  process.kill(pid, "SIGKILL");
  while (!(await one.events()).includes("carrier-lost"));
  await one.until("ready", isReady);
  while (!(await reaches(from.net, to)));
  expect(one.forwarderPid()).not.toBe(pid);
});

kernelTest(
  "the process that carries packets for udp is told when it hangs, ended, and started again",
  async () => {
    await using made = await hostsWith({ Type: "udp" });
    const agents = made.hosts.map((host) => host.start());
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
    const [from, to] = [await one.container(), await two.container()];
    expect(await reaches(from.net, to)).toBe(true);
    // Of one that has taken over the kernel has to name itself, too, and not who made its socket.
    await agents[0]?.[Symbol.asyncDispose]();
    one.start();
    await one.until("ready", (s) => s.ready && s.nodes.peers === 1);
    expect(await reaches(from.net, to)).toBe(true);
    const { forwarder } = await one.until("counting", (s) => (s.forwarder?.sent.packets ?? 0) > 0);
    expect(forwarder).toMatchObject({ device: "flannel0", peers: 1 });
    const pid = one.forwarderPid();
    process.kill(pid, "SIGSTOP");
    const silent = await one.until("not ready", (s) => !s.ready);
    expect(silent.failing).toEqual([
      { job: "carrier", why: expect.stringMatching(/^the forwarder at .+ does not answer$/) as string },
    ]);
    await one.until("ready", isReady);
    while (!(await reaches(from.net, to)));
    expect(one.forwarderPid()).not.toBe(pid);
    expect(await one.events()).toContain("carrier-right");
  },
  patience(60_000),
);

kernelTest(
  "the process that carries packets for udp goes on at the port of another configuration",
  async () => {
    await using made = await hostsWith({ Type: "udp" });
    const agents = made.hosts.map((host) => host.start());
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
    const [from, to] = [await one.container(), await two.container()];
    expect(await reaches(from.net, to)).toBe(true);
    const changed = { Network: "10.244.0.0/16", Backend: { Type: "udp", Port: 9000 } };
    await made.store.kv.put(`${PREFIX}/config`, JSON.stringify(changed));
    // The next ones read it at once.
    for (const agent of agents) await agent[Symbol.asyncDispose]();
    await ready(made.hosts);
    while (!(await reaches(from.net, to)));
    const ports = async ({ net }: AgentHost): Promise<string> =>
      [...(await net.exec(["ss", "-Hlnu"])).stdout.matchAll(/:(\d+) /g)].map(([, port]) => port).join();
    // The process at the old port ends when it has handed over, a moment after packets pass by the new one.
    for (const host of made.hosts) while ((await ports(host)) !== "9000");
  },
);

/** How many datagrams in a row are missing at most when the process that carries them is killed. */
async function missedByDeath(
  one: AgentHost,
  from: Container,
  to: Container,
  perSecond: number,
): Promise<number> {
  const deaths = async () => (await one.events()).filter((code) => code === "carrier-lost").length;
  const before = await deaths();
  await using load = await numberedLoad(from.net, to, perSecond);
  process.kill(one.forwarderPid(), "SIGKILL");
  while ((await deaths()) === before);
  while (!(await reaches(from.net, to)));
  const { sent, last, gaps } = await load.count();
  expect(last).toBe(sent - 1);
  return Math.max(
    ...gaps.map((gap) => {
      const [first = 0, end = 0] = gap.split("..").map(Number);
      return end - first + 1;
    }),
  );
}

kernelTest("the death of that process stops packets for 200 milliseconds at most", async () => {
  await using made = await hostsWith({ Type: "udp" });
  await ready(made.hosts);
  const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
  const [from, to] = [await one.container(), await two.container()];
  expect(await reaches(from.net, to)).toBe(true);
  // The quickest of three: what else the machine does takes from each.
  const missed: number[] = [];
  for (let i = 0; i < 3; i++) missed.push(await missedByDeath(one, from, to, 1_000));
  const least = Math.min(...missed);
  expect(least).toBeGreaterThan(0);
  expect(least).toBeLessThanOrEqual(patience(200));
});

describe("an agent", () => {
  kernelTest("keeps everything while the store is away, and goes on when it is back", async () => {
    await using made = await hostsWith({ Type: "host-gw" });
    await ready(made.hosts);
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    const [from, to] = [await one.container(), await two.container()];
    renameSync(made.store.dir, `${made.store.dir}.away`);
    await one.ip("route flush proto 73");
    // It is repaired though nobody can be asked who the peers are.
    while (!(await reaches(from.net, to)));
    expect(await one.status()).toMatchObject({ ready: true, nodes: { peers: 1 } });
    renameSync(`${made.store.dir}.away`, made.store.dir);
    expect(await one.until("ready", isReady)).toMatchObject({ ready: true, nodes: { peers: 1 } });
  });

  kernelTest.each([
    ["host-gw", "route flush proto 73"],
    ["vxlan", "link del flannel.1"],
    ["udp", "route flush proto 73"],
  ] as const)(
    "over %s that starts while the store is away repairs what the one before had made",
    async (type, breakIt) => {
      await using made = await hostsWith({ Type: type });
      const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
      two.start();
      await two.until("ready", isReady);
      const first = one.start();
      for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
      const [from, to] = [await one.container(), await two.container()];
      const { subnet } = await one.until("ready", isReady);
      while (!(existsSync(one.knownFile) && readFileSync(one.knownFile, "utf8").includes("192.0.2.2")))
        await Bun.sleep(5);
      await first[Symbol.asyncDispose]();
      renameSync(made.store.dir, `${made.store.dir}.away`);
      await one.ip(breakIt);
      expect(await reaches(from.net, to)).toBe(false);
      one.start();
      while (!(await reaches(from.net, to)));
      const known = { known: expect.any(Number), peers: 1, troubled: 0 };
      expect(await one.status()).toMatchObject({
        ready: false,
        subnet,
        lease: { held: false },
        nodes: known,
      });
      expect(await one.events()).toContain("recalled");
      expect(await one.ask("status")).toMatch(
        /^known +from what was known at 20.*Z, until the store answers$/m,
      );
      renameSync(`${made.store.dir}.away`, made.store.dir);
      expect(await one.until("ready", isReady)).toMatchObject({
        subnet,
        recalled: null,
        nodes: { peers: 1 },
      });
      expect(await one.events()).not.toContain("subnet-changed");
      expect(await reaches(from.net, to)).toBe(true);
    },
  );

  kernelTest(
    "that lost its subnet to another host takes a new one, and keeps the containers that run",
    async () => {
      await using made = await hostsWith({ Type: "host-gw" }, 1);
      const [one] = made.hosts as readonly [AgentHost];
      one.start();
      const { subnet } = await one.until("ready", isReady);
      const own = await one.container();
      const key = `${PREFIX}/subnets/${subnet?.replace("/", "-") ?? ""}`;
      const thief = { PublicIP: "192.0.2.77", BackendType: "host-gw" };
      expect(await made.store.kv.put(key, JSON.stringify(thief))).toBeDefined();
      const now = await one.until("ready with another subnet", (s) => s.ready && s.subnet !== subnet);
      expect(one.env("FLANNEL_SUBNET")).toStartWith(now.subnet?.replace(/0\/24$/, "1") ?? "?");
      expect(await one.events()).toContain("subnet-changed");
      expect(await reaches(one.net, own)).toBe(true);
      const rows = await one.nodes();
      expect(rows.find((row) => row.subnet === subnet)).toMatchObject({ state: "left out" });
      expect(rows.find((row) => row.subnet === now.subnet)).toMatchObject({ state: "this host" });
    },
  );

  kernelTest("whose address another host has, too, says so, and does not fight for the subnet", async () => {
    await using made = await hostsWith({ Type: "host-gw" }, 1);
    const { kv } = made.store;
    const [one] = made.hosts as readonly [AgentHost];
    one.start();
    const { subnet } = await one.until("ready", isReady);
    const own = await one.container();
    const key = `${PREFIX}/subnets/${subnet?.replace("/", "-") ?? ""}`;
    const entry = await kv.get(key);
    await kv.put(key, entry?.value ?? "", { lease: await kv.grant(600) });
    const twin = await kv.get(key);
    await one.until("without a subnet", (s) => !s.ready);
    while (!(await one.events()).includes("lease-refused"));
    expect(await kv.get(key)).toEqual(twin);
    expect(await reaches(one.net, own)).toBe(true);
    await kv.delete(key);
    expect((await one.until("ready again", isReady)).subnet).toBe(subnet);
  });

  kernelTest("with nodes that contradict one another serves the others", async () => {
    await using made = await hostsWith({ Type: "host-gw" });
    const put = (subnet: string, value: string) => made.store.kv.put(`${PREFIX}/subnets/${subnet}`, value);
    const node = (ip: string) => JSON.stringify({ PublicIP: ip, BackendType: "host-gw" });
    await put("10.99.0.0-24", node("192.0.2.50"));
    await put("10.244.200.0-24", "{");
    await put("10.244.201.0-24", node("127.0.0.1"));
    await put("10.244.202.0-24", node("not an address\n"));
    await put("nonsense", node("192.0.2.51"));
    for (const host of made.hosts) host.start();
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
    const [from, to] = [await one.container(), await two.container()];
    expect(await reaches(from.net, to)).toBe(true);
    expect(await one.status()).toMatchObject({ ready: true, nodes: { known: 7, peers: 1, troubled: 5 } });
  });

  kernelTest(
    "leaves nothing of the fabric when it drains, and everything when it is told to end",
    async () => {
      await using made = await hostsWith({ Type: "vxlan" });
      const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
      const first = one.start();
      two.start();
      for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
      process.kill(first.pid, "SIGTERM");
      while ((await one.status()) !== undefined);
      const rules = async (host: AgentHost) => (await host.net.exec(["nft", "list", "ruleset"])).stdout;
      const links = async (host: AgentHost) => (await host.net.exec(["ip", "-br", "link"])).stdout;
      expect(await links(one)).toContain("flannel.1");
      expect(existsSync(one.subnetFile)).toBe(true);
      one.start();
      await one.until("ready", isReady);
      expect(JSON.parse(await one.ask("drain", "--json"))).toMatchObject({ mode: "drained", ready: false });
      expect(await links(one)).not.toContain("flannel.1");
      expect((await one.net.exec(["ip", "route", "show", "proto", "73"])).stdout).toBe("");
      expect(await rules(one)).not.toContain("masquerade");
      expect(existsSync(one.subnetFile)).toBe(false);
      await two.until("without its peer", (s) => s.nodes.peers === 0);
      expect((await two.net.exec(["ip", "route", "show", "proto", "73"])).stdout).toBe("");
    },
  );

  kernelTest("answers while its firewall waits for somebody who says nothing", async () => {
    await using made = await hostsWith({ Type: "host-gw" }, 1);
    const [one] = made.hosts as readonly [AgentHost];
    using bus = silentBus();
    one.start(["env", `DBUS_SYSTEM_BUS_ADDRESS=unix:path=${bus.path}`]);
    await bus.asked;
    const began = performance.now();
    for (let i = 0; i < 5; i++)
      expect(await one.status()).toMatchObject({ ready: false, lease: { held: true } });
    expect(performance.now() - began).toBeLessThan(patience(5_000));
    bus[Symbol.dispose]();
    await one.until("ready", isReady);
  });

  kernelTest("is refused beside another one, and serves health and metrics", async () => {
    await using made = await hostsWith({ Type: "host-gw" }, 1, { http: { port: 9100 } });
    const [one] = made.hosts as readonly [AgentHost];
    one.start();
    await one.until("ready", isReady);
    const second = Bun.spawnSync([heddle.path, "agent", "--config", one.subnetFile.replace(/env$/, "json")]);
    expect(second.exitCode).toBe(1);
    expect(second.stderr.toString()).toContain("an agent already exists");
    const get = async (path: string): Promise<string> =>
      (
        await one.net.exec([
          process.execPath,
          "-e",
          "const r = await fetch(process.argv.at(-1)); console.log(r.status, await r.text())",
          `http://127.0.0.1:9100${path}`,
        ])
      ).stdout;
    expect(await get("/readyz")).toStartWith("200");
    expect(await get("/metrics")).toContain("\nheddle_agent_ready 1\n");
  });
});
