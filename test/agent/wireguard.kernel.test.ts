/** Agents over WireGuard, as processes: keys in files, tunnels that outlive them. */
import { describe, expect, test } from "bun:test";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { agentHosts, type AgentHost, numberedLoad, PREFIX, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { kernelTest, onKernelWith, whyNot } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";

const heddle = heddleOfFile();
const hostsWith = (count: number, backend: object = {}) =>
  agentHosts({
    heddle: heddle.path,
    count,
    network: { Network: "10.244.0.0/16", Backend: { Type: "wireguard", ...backend } },
  });

async function ready(hosts: readonly AgentHost[]): Promise<void> {
  for (const host of hosts) host.start();
  for (const host of hosts)
    await host.until("ready with all peers", (s) => s.ready && s.nodes.peers === hosts.length - 1);
}

const index = async (host: AgentHost): Promise<number> =>
  (
    JSON.parse((await host.net.exec(["ip", "-j", "link", "show", "flannel-wg"])).stdout) as readonly {
      readonly ifindex: number;
    }[]
  )[0]?.ifindex ?? 0;

onKernelWith(["wireguard"], () => {
  describe("agents over wireguard", () => {
    kernelTest("join three hosts, whose containers reach one another, and let them go", async () => {
      const PSK = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
      await using made = await hostsWith(3, { PSK });
      await ready(made.hosts);
      expect(made.hosts.map((host) => host.env("FLANNEL_MTU"))).toEqual(["1420", "1420", "1420"]);
      const keys = made.hosts.map((host) => readFileSync(host.keyFile, "utf8"));
      expect(new Set(keys).size).toBe(3);
      expect(made.hosts.map((host) => statSync(host.keyFile).mode & 0o777)).toEqual([0o400, 0o400, 0o400]);
      const containers = await Promise.all(made.hosts.map((host) => host.container()));
      for (const from of containers)
        for (const to of containers) if (to !== from) expect(await reaches(from.net, to)).toBe(true);
      const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
      expect(JSON.parse(await one.ask("drain", "--json"))).toMatchObject({ mode: "drained", ready: false });
      expect((await one.net.exec(["ip", "-br", "link"])).stdout).not.toContain("flannel-wg");
      await two.until("without its peer", (s) => s.nodes.peers === 1);
    });

    kernelTest("are killed under load without a lost packet, and the next one takes over", async () => {
      await using made = await hostsWith(2);
      const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
      const first = one.start();
      two.start();
      for (const host of made.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
      const [from, to] = [await one.container(), await two.container()];
      expect(await reaches(from.net, to)).toBe(true);
      const before = { index: await index(one), key: readFileSync(one.keyFile, "utf8") };
      await using load = await numberedLoad(from.net, to, 200);
      await first[Symbol.asyncDispose]();
      expect(await one.status()).toBeUndefined();
      one.start();
      await one.until("ready again", (s) => s.ready && s.nodes.peers === 1);
      expect({ index: await index(one), key: readFileSync(one.keyFile, "utf8") }).toEqual(before);
      expect(await one.events()).not.toContain("kernel-repaired");
      const { sent, last, gaps, lost, dropped } = await load.count();
      expect({ gaps, lost }).toEqual({ gaps, lost: dropped });
      expect(last).toBe(sent - 1);
    });
  });
});

const isRoot = whyNot({ root: true, programs: ["ip", "unshare"] }) === undefined;

describe("an agent over wireguard", () => {
  kernelTest("tells what is wrong with its key, leaves it alone, and goes on when it is right", async () => {
    await using made = await hostsWith(1);
    const [one] = made.hosts as readonly [AgentHost];
    const key = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    writeFileSync(one.keyFile, key);
    chmodSync(one.keyFile, 0o644);
    one.start();
    const { failing } = await one.until("refusing", (s) => s.failing.some(({ job }) => job === "host"));
    expect(failing[0]?.why).toContain(`${one.keyFile}: others than its owner may use it (mode 0644)`);
    expect(readFileSync(one.keyFile, "utf8")).toBe(key);
    chmodSync(one.keyFile, 0o400);
    const { failing: still, lease } = await one.until("with a subnet", ({ lease: l }) => l.held);
    expect([still.map(({ job }) => job), lease.held]).toEqual([[], true]);
    const { entries } = await made.store.kv.list(`${PREFIX}/subnets/`);
    expect(entries.map(({ value }) => value).join("")).toMatch(
      /"BackendType":"wireguard","BackendData":\{"PublicKey":"[A-Za-z0-9+/]{43}=","Port":51820\}/,
    );
    const said = `${await one.ask("status", "--json")}${await one.ask("events", "--json")}`;
    expect(said).not.toContain(key.slice(0, 12));
  });

  test.skipIf(!isRoot || kernelHas("wireguard"))(
    "on a kernel that has none says so in its status",
    async () => {
      await using made = await hostsWith(1);
      const [one] = made.hosts as readonly [AgentHost];
      one.start();
      const { kernel } = await one.until("refused", (s) => s.kernel.problems.length > 0);
      expect(kernel.problems).toEqual([
        {
          what: "link flannel-wg",
          why: "the kind wireguard of links is not available: needs the kernel's module wireguard (modprobe wireguard)",
        },
      ]);
    },
    patience(30_000),
  );
});
