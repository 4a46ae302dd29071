/** Agents over WireGuard, as processes in the virtual machine, where it takes its time: tunnels that outlive them. */
import { describe, expect } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { agentHosts, type AgentHost, numberedLoad, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, onKernelWith } from "../../src/testing/needs.ts";

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
