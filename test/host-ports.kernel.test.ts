/** Host ports across backends, as the executable sees them: neither firewall knows the other's rules by itself. */
import { expect } from "bun:test";
import { type CniHost, cniHost, type PluginReply } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../src/testing/netns.ts";

const heddle = heddleOfFile();

const portTest = testWith({ root: true, programs: ["ip", "nft", "iptables-restore", "nsenter", "unshare"] });
const PORT_TAKEN = 102;

const portmap = (backend: string, address: string, hostIP?: string, protocol = "tcp") => ({
  cniVersion: "1.0.0",
  name: "ports",
  type: "portmap",
  backend,
  runtimeConfig: {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol, ...(hostIP ? { hostIP } : {}) }],
  },
  prevResult: {
    cniVersion: "1.0.0",
    interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
    ips: [{ address: `${address}/24`, interface: 0 }],
  },
});

interface Container {
  readonly id: string;
  readonly netns: TestNetns;
  readonly address: string;
}
const add = (host: CniHost, c: Container, backend: string, hostIP?: string): Promise<PluginReply> =>
  call(host, c, "ADD", portmap(backend, c.address, hostIP));
const del = (host: CniHost, c: Container, backend: string): Promise<PluginReply> =>
  call(host, c, "DEL", portmap(backend, c.address));
const call = (host: CniHost, c: Container, command: "ADD" | "DEL", conf: object): Promise<PluginReply> =>
  host.call("portmap", { command, containerId: c.id, netns: c.netns.path, ifname: "eth0" }, conf);

for (const [first, second] of [
  ["nftables", "iptables"],
  ["iptables", "nftables"],
] as const)
  portTest(
    `a port that a live container has by ${first} is refused by ${second} with its owner's name`,
    async () => {
      await using host = await cniHost(heddle);
      await using one = await testNetns();
      await using two = await testNetns();
      const owner = { id: "first", netns: one, address: "10.9.0.2" };
      const other = { id: "second", netns: two, address: "10.9.0.3" };
      expect((await add(host, owner, first)).message).toBe("");
      const before = await host.snapshot();
      for (const hostIP of [undefined, "127.0.0.1"]) {
        const refused = await add(host, other, second, hostIP);
        expect(refused.error).toBe(PORT_TAKEN);
        expect(refused.message).toContain("8080/tcp");
        expect(refused.message).toContain("first");
      }
      // A refusal changes nothing, but for chains of the second backend that everybody shares.
      expect((await host.snapshot()).filter((l) => before.includes(l))).toEqual([...before]);
      expect((await del(host, owner, first)).message).toBe("");
      expect((await add(host, other, second)).message).toBe("");
      expect((await del(host, other, second)).message).toBe("");
    },
  );

portTest("a port that a dead container had in the other backend is free", async () => {
  await using host = await cniHost(heddle);
  await using two = await testNetns();
  const other = { id: "second", netns: two, address: "10.9.0.3" };
  {
    await using one = await testNetns();
    expect((await add(host, { id: "first", netns: one, address: "10.9.0.2" }, "nftables")).message).toBe("");
  }
  expect((await add(host, other, "iptables")).message).toBe("");
  expect((await del(host, other, "iptables")).message).toBe("");
});

portTest("one port can be mapped for two protocols, in two backends", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  await using two = await testNetns();
  const tcp = { id: "first", netns: one, address: "10.9.0.2" };
  const udp = { id: "second", netns: two, address: "10.9.0.3" };
  expect((await add(host, tcp, "nftables")).message).toBe("");
  expect((await call(host, udp, "ADD", portmap("iptables", udp.address, undefined, "udp"))).message).toBe("");
});
