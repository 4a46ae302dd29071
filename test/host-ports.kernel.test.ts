/** Host ports across backends, as the executable sees them: neither firewall knows the other's rules by itself. */
import { expect } from "bun:test";
import { type CniHost, cniHost, type PluginReply } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../src/testing/netns.ts";

const heddle = heddleOfFile();

const portTest = testWith({ root: true, programs: ["ip", "nft", "iptables-restore", "nsenter", "unshare"] });
const PORT_TAKEN = 102;

const portmap = (backend: string, address: string, hostIP?: string, protocol = "tcp", ifname = "eth0") => ({
  cniVersion: "1.0.0",
  name: "ports",
  type: "portmap",
  backend,
  runtimeConfig: {
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol, ...(hostIP ? { hostIP } : {}) }],
  },
  prevResult: {
    cniVersion: "1.0.0",
    interfaces: [{ name: ifname, sandbox: "/run/netns/x" }],
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

/** What `port` of the host leads to in the maps of nftables. */
const leadsTo = async (host: CniHost, port: number): Promise<string | undefined> => {
  const { stdout } = await host.exec(["nft", "list", "map", "inet", "heddle", "ports4"]);
  return new RegExp(`tcp \\. ${port} .*: ([0-9.]+) \\.`).exec(stdout)?.[1];
};

portTest(
  "a container in several networks has its port by the first, and by the next when that goes",
  async () => {
    await using host = await cniHost(heddle);
    await using netns = await testNetns();
    const nets = [2, 3, 4].map((n) => ({ name: `net${n}`, address: `10.9.${n}.2`, ifname: `eth${n}` }));
    const conf = (net: (typeof nets)[number]) => ({
      ...portmap("nftables", net.address, undefined, "tcp", net.ifname),
      name: net.name,
    });
    const on = async (command: "ADD" | "CHECK" | "DEL", net: (typeof nets)[number]): Promise<string> => {
      const request = { command, containerId: "one", netns: netns.path, ifname: net.ifname };
      return (await host.call("portmap", request, { ...conf(net), cniVersion: "1.0.0" })).message;
    };
    const [first, second, third] = nets as [(typeof nets)[0], (typeof nets)[0], (typeof nets)[0]];
    const bare = await host.snapshot();
    for (const net of nets) expect(await on("ADD", net)).toBe("");
    for (const net of nets) expect(await on("CHECK", net)).toBe("");
    expect(await leadsTo(host, 8080)).toBe(first.address);
    // After a flush it is again the first that has it.
    await host.exec(["nft", "flush", "ruleset"]);
    expect((await host.cli(["reload"], {})).code).toBe(0);
    expect(await leadsTo(host, 8080)).toBe(first.address);
    // Somebody else is still refused.
    await using other = await testNetns();
    expect((await add(host, { id: "other", netns: other, address: "10.9.0.9" }, "nftables")).error).toBe(
      PORT_TAKEN,
    );
    expect(await on("DEL", first)).toBe("");
    expect(await leadsTo(host, 8080)).toBe(second.address);
    for (const net of [second, third]) expect(await on("CHECK", net)).toBe("");
    // It comes back, and is the last in the row now.
    expect(await on("ADD", first)).toBe("");
    expect(await on("DEL", second)).toBe("");
    expect(await leadsTo(host, 8080)).toBe(third.address);
    expect(await on("DEL", third)).toBe("");
    expect(await leadsTo(host, 8080)).toBe(first.address);
    expect(await on("DEL", first)).toBe("");
    expect(await leadsTo(host, 8080)).toBeUndefined();
    expect((await host.snapshot()).filter((l) => l.includes("8080"))).toEqual(
      bare.filter((l) => l.includes("8080")),
    );
  },
);

portTest("a port is not left to a network of a container that is dead", async () => {
  await using host = await cniHost(heddle);
  const on = (command: "ADD" | "DEL", net: number, path: string): Promise<PluginReply> =>
    host.call(
      "portmap",
      { command, containerId: "one", netns: path, ifname: `eth${net}` },
      { ...portmap("nftables", `10.9.${net}.2`, undefined, "tcp", `eth${net}`), name: `net${net}` },
    );
  let path = "";
  {
    await using netns = await testNetns();
    ({ path } = netns);
    for (const net of [1, 2]) expect((await on("ADD", net, path)).message).toBe("");
  }
  expect((await on("DEL", 1, path)).message).toBe("");
  expect(await leadsTo(host, 8080)).toBeUndefined();
  expect((await on("DEL", 2, path)).message).toBe("");
});
