/** Plugins that make interfaces, with addresses by DHCP: the lease is asked for over the new interface. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { type DhcpLab, dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { type Behaviour, startServer } from "../../src/testing/dhcp-server.ts";
import { dhcpServersTree, startRealServer } from "../../src/testing/dhcp-servers.ts";
import { onKernelWith, testWith } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { testNetns, type TestNetns } from "../../src/testing/netns.ts";
import type { Outcome } from "../../src/testing/run.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const labTest = testWith({ root: true, programs: ["ip", "setpriv"] });
const usual: Behaviour = { link: "lan", address: "10.9.0.1", first: "10.9.1.10", leaseSeconds: 3600 };

/** The container of the lab plays the host here; its `eth0` leads to the server. */
async function onHost(
  lab: DhcpLab,
  container: TestNetns,
  command: string,
  conf: Readonly<Record<string, unknown>>,
  ipam: object = {},
  containerId = "c1",
): Promise<Outcome> {
  const type = String(conf["type"]);
  const variables = {
    ...lab.env,
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: container.path,
    CNI_IFNAME: "net0",
    CNI_PATH: lab.cniPath,
  };
  return lab.container.exec([`${lab.cniPath}/${type}`], {
    env: variables,
    stdin: JSON.stringify({
      cniVersion: "1.1.0",
      name: "lan",
      ...conf,
      ipam: { type: "dhcp", daemonSocketPath: lab.socketPath, ...ipam },
    }),
    mustSucceed: false,
  });
}

const kinds: readonly (readonly [type: string, conf: Readonly<Record<string, unknown>>])[] = [
  ["macvlan", { type: "macvlan", master: "eth0" }],
  ["bridge", { type: "bridge", bridge: "br0" }],
];

describe.each(kinds)("%s with addresses by DHCP", (type, conf) => {
  labTest(
    "reaches the server's network, checks, and gives the lease back before the interface goes",
    async () => {
      await using lab = await dhcpLab();
      await using container = await testNetns();
      await using server = await startServer(lab.server, { ...usual, options: [[3, "0a090001"]] });
      await using daemon = await lab.daemon();
      if (type === "bridge") {
        await lab.container.exec(["ip", "link", "add", "br0", "type", "bridge"]);
        await lab.container.exec(["ip", "link", "set", "br0", "up"]);
        await lab.container.exec(["ip", "link", "set", "eth0", "master", "br0"]);
      }
      const added = await onHost(lab, container, "ADD", conf);
      expect(added.stderr + (added.code === 0 ? "" : added.stdout)).toBe("");
      const prevResult = JSON.parse(added.stdout) as object;
      expect(prevResult).toMatchObject({ ips: [{ address: "10.9.1.10/16", gateway: "10.9.0.1" }] });
      expect(await seenFrom(container.path, lab.server.path, "10.9.0.1", 8080)).toBe("10.9.1.10");
      const route = await container.exec(["ip", "route", "show", "default"]);
      expect(route.stdout).toContain("via 10.9.0.1 dev net0");
      expect((await onHost(lab, container, "CHECK", { ...conf, prevResult })).stdout).toBe("");
      const before = server.seen().length;
      expect((await onHost(lab, container, "DEL", conf)).stdout).toBe("");
      expect(await server.saw("release", before)).toMatchObject({ source: "10.9.1.10" });
      await daemon.said("released");
      expect((await container.exec(["ip", "-o", "link"])).stdout).not.toContain("net0");
    },
  );

  labTest("leaves nothing when no server answers", async () => {
    await using lab = await dhcpLab();
    await using container = await testNetns();
    await using _ = await lab.daemon("--resendtimeout", "1s");
    if (type === "bridge") await lab.container.exec(["ip", "link", "add", "br0", "type", "bridge"]);
    const links = (await lab.container.exec(["ip", "-o", "-br", "link"])).stdout.split("\n").length;
    const added = await onHost(lab, container, "ADD", conf);
    expect(JSON.parse(added.stdout)).toMatchObject({ code: 11 });
    expect(added.stdout).toContain("no DHCP server answered within 1 s");
    expect((await container.exec(["ip", "-o", "link"])).stdout).not.toContain("net0");
    expect((await lab.container.exec(["ip", "-o", "-br", "link"])).stdout.split("\n").length).toBe(links);
  });

  labTest("leaves nothing when the daemon does not run", async () => {
    await using lab = await dhcpLab();
    await using container = await testNetns();
    const added = await onHost(lab, container, "ADD", conf);
    expect(JSON.parse(added.stdout)).toMatchObject({ code: 11 });
    expect(added.stdout).toContain("is not running");
    expect((await container.exec(["ip", "-o", "link"])).stdout).not.toContain("net0");
    expect(JSON.parse((await onHost(lab, container, "STATUS", conf)).stdout)).toMatchObject({ code: 50 });
    expect((await onHost(lab, container, "DEL", conf)).stdout).toBe("");
  });
});

const tree = await dhcpServersTree();
const feature = tree === undefined ? "needs Debian's dnsmasq" : true;

testWith({ root: true, programs: ["ip", "setpriv"], feature })(
  "macvlan has addresses of both families, on the interface as in the result",
  async () => {
    await using lab = await dhcpLab();
    await using container = await testNetns();
    const range = { first: 10, last: 90, leaseSeconds: 600, renewSeconds: 300 };
    await using _ = await startRealServer("dnsmasq", tree ?? "", lab.server, lab.dir, range);
    await using _daemon = await lab.daemon();
    const conf = { type: "macvlan", master: "eth0" };
    const both = { families: ["ipv4", "ipv6"] };
    const added = await onHost(lab, container, "ADD", conf, both);
    const prevResult = JSON.parse(added.stdout) as { readonly ips: readonly { readonly address: string }[] };
    expect(prevResult.ips).toHaveLength(2);
    const shown = (await container.exec(["ip", "-o", "address", "show", "dev", "net0", "scope", "global"]))
      .stdout;
    for (const { address } of prevResult.ips) expect(shown).toContain(` ${address} `);
    expect((await onHost(lab, container, "CHECK", { ...conf, prevResult }, both)).stdout).toBe("");
    expect((await onHost(lab, container, "DEL", conf, both)).stdout).toBe("");
  },
);

labTest("the example of the plugin's README runs as it stands", async () => {
  await using lab = await dhcpLab();
  await using container = await testNetns();
  await using server = await startServer(lab.server, usual);
  await using _daemon = await lab.daemon();
  const readme = readFileSync(inProject("src/plugins/ipam/dhcp/README.md"), "utf8");
  const example = /^```json\n([\s\S]*?)^```/m.exec(readme)?.[1] ?? "";
  const { ipam } = JSON.parse(example) as { readonly ipam: object };
  const conf = { type: "macvlan", master: "eth0" };
  const added = await onHost(lab, container, "ADD", conf, ipam);
  expect(JSON.parse(added.stdout)).toMatchObject({ ips: [{ address: "10.9.1.10/16" }] });
  const { options } = await server.saw("discover");
  expect([options["12"], options["55"]?.endsWith("771c")]).toEqual([
    Buffer.from("box").toString("hex"),
    true,
  ]);
  expect((await onHost(lab, container, "DEL", conf, ipam)).stdout).toBe("");
});

onKernelWith(["ipvlan"], () => {
  test(
    "containers on ipvlan share a MAC address and have leases of their own",
    async () => {
      await using lab = await dhcpLab();
      await using server = await startServer(lab.server, usual);
      await using _daemon = await lab.daemon();
      await using first = await testNetns();
      await using second = await testNetns();
      const conf = { type: "ipvlan", master: "eth0" };
      for (const [container, address] of [
        [first, "10.9.1.10/16"],
        [second, "10.9.1.11/16"],
      ] as const) {
        const added = await onHost(lab, container, "ADD", conf, {}, container.name);
        expect(JSON.parse(added.stdout)).toMatchObject({ ips: [{ address }] });
        expect(await seenFrom(container.path, lab.server.path, "10.9.0.1", 8080)).toBe(
          address.replace("/16", ""),
        );
      }
      const discovers = server.seen().filter((m) => m.type === "discover");
      expect(new Set(discovers.map((m) => m.mac)).size).toBe(1);
      // What is sent to an address that the interface does not have yet does not reach it.
      expect(discovers.every((m) => m.broadcast)).toBe(true);
      for (const container of [first, second])
        expect((await onHost(lab, container, "DEL", conf, {}, container.name)).stdout).toBe("");
    },
    patience(60_000),
  );
});
