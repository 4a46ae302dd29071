/** The networks that the plugins' READMEs show run as they stand, on a host that has the links, files and servers they name. */
import { expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type PluginType, pluginTypes } from "../../src/plugins/registry.ts";
import { cniHost, type CniHost } from "../../src/testing/cni-host.ts";
import { startDaemon } from "../../src/testing/dhcp-lab.ts";
import { startServer } from "../../src/testing/dhcp-server.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import type { KernelFeature } from "../../src/testing/features.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { capabilitiesIn, exampleOf, listsIn, readmeOf } from "../../src/testing/plugin-readme.ts";
import { type Outcome, plainEnv, run } from "../../src/testing/run.ts";

const heddle = heddleOfFile();
/** The container, as the host sees it. */
const BOX = "/run/netns/box";

interface Result {
  readonly interfaces: readonly { readonly name: string; readonly sandbox?: string }[];
}

/** What an example wants of the kernel beyond what a bridge does. */
const wants: Partial<Readonly<Record<PluginType, readonly KernelFeature[]>>> = {
  bandwidth: ["ifb"],
  dummy: ["dummy"],
  ipvlan: ["ipvlan"],
  macvlan: ["macvlan"],
  macvtap: ["macvtap"],
  tap: ["tun"],
  vlan: ["vlan"],
  vrf: ["vrf"],
};

/** What an example takes for granted on the host, beside its uplink `eth0`. */
const prepare: Partial<
  Readonly<Record<PluginType, (host: CniHost, stack: AsyncDisposableStack) => Promise<void>>>
> = {
  "host-device": async (host) => {
    await host.exec(["ip", "link", "add", "hdl-lent", "type", "veth", "peer", "name", "lent0"]);
  },
  flannel: async (host) => {
    const run = `/proc/${host.pid}/root/run/flannel`;
    mkdirSync(run);
    const lines = ["NETWORK=10.244.0.0/16", "SUBNET=10.244.3.1/24", "MTU=1450", "IPMASQ=true"];
    writeFileSync(`${run}/subnet.env`, lines.map((line) => `FLANNEL_${line}\n`).join(""));
  },
  dhcp: serveLeases,
};

/** A DHCP server at a port of the bridge, and the daemon where the plugin looks for it. */
async function serveLeases(host: CniHost, stack: AsyncDisposableStack): Promise<void> {
  const at = stack.use(await testNetns());
  const peer = ["type", "veth", "peer", "name", "port0", "netns", String(host.pid)];
  await run(["ip", "link", "add", "lan", "netns", at.name, ...peer]);
  await at.exec(["ip", "address", "add", "10.9.0.1/16", "dev", "lan"]);
  await at.exec(["ip", "link", "set", "lan", "up"]);
  await host.exec(["ip", "link", "add", "cni0", "up", "type", "bridge"]);
  await host.exec(["ip", "link", "set", "port0", "up", "master", "cni0"]);
  const usual = { link: "lan", address: "10.9.0.1", first: "10.9.1.10", leaseSeconds: 3600 };
  stack.use(await startServer(at, usual));
  const there = ["nsenter", `--target=${host.pid}`, "--net", "--mount", "--"];
  stack.use(await startDaemon([...there, heddle.at("heddle"), "dhcp-daemon"], { ...plainEnv }));
}

/** A host with an uplink and a container, whose `/run` is its own. */
async function hostWithUplink(): Promise<CniHost> {
  const host = await cniHost(heddle);
  await host.exec(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
  for (const words of [
    "link add eth0 type veth peer name up0",
    "link set up0 up",
    "link set eth0 up",
    "address add 192.0.2.1/24 dev eth0",
    "route add default via 192.0.2.254",
    "netns add box",
  ])
    await host.exec(["ip", ...words.split(" ")]);
  return host;
}

/** The README's lists; an IPAM plugin's, which it shows alone, below a bridge. */
function networksOf(type: PluginType): readonly Readonly<Record<string, unknown>>[] {
  const lists = listsIn(readmeOf(type));
  return lists.length > 0 ? lists : [{ cniVersion: "1.1.0", name: "shown", plugins: [exampleOf(type)] }];
}

async function runExamples(type: PluginType): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await hostWithUplink());
  await prepare[type]?.(host, stack);
  const env = { NETCONFPATH: host.dir, CAP_ARGS: JSON.stringify(capabilitiesIn(readmeOf(type))) };
  for (const network of networksOf(type)) {
    const name = String(network["name"]);
    writeFileSync(join(host.dir, `${name}.conflist`), JSON.stringify(network));
    const cni = (verb: string): Promise<Outcome> => host.cli(["cni", verb, name, BOX], env);
    const added = await cni("add");
    expect([added.code, added.stderr]).toEqual([0, ""]);
    const { interfaces } = JSON.parse(added.stdout) as Result;
    const inside = interfaces.find(({ sandbox }) => sandbox === BOX)?.name ?? "none";
    const look = ["ip", "netns", "exec", "box", "ip", "link", "show", "up", "dev", inside];
    expect((await host.exec(look)).stdout).toContain(inside);
    expect(await cni("check")).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(await cni("del")).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect((await host.exec(look, { mustSucceed: false })).stdout).toBe("");
    expect((await host.cli(["ps", "--json"], {})).stdout.trim()).toBe("[]");
  }
}

for (const type of pluginTypes) {
  const test = kernelTestWith(...(wants[type] ?? []));
  test(`the README of ${type} shows a network that attaches, checks and detaches a container`, () =>
    runExamples(type));
}
