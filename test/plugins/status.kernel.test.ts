/** STATUS says whether ADD has what it needs of the kernel and the host, and makes nothing. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { cniHost, type CniHost } from "../../src/testing/cni-host.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { kernelTest, onKernelWith, testWith } from "../../src/testing/needs.ts";

const heddle = heddleOfFile();
/** Where Debian's programs of iptables are links to. */
const ALTERNATIVES = "/etc/alternatives";
const alternatives = existsSync(ALTERNATIVES) ? true : `needs ${ALTERNATIVES}`;
const withoutPrograms = testWith({ root: true, programs: ["ip", "iptables-save"], feature: alternatives });
/** Plugins whose links a kernel may lack, with their kernel module. */
const kinds = {
  dummy: "dummy",
  ipvlan: "ipvlan",
  macvlan: "macvlan",
  macvtap: "macvtap",
  vlan: "8021q",
  vrf: "vrf",
} as const;
type Kind = keyof typeof kinds;
const all = Object.keys(kinds) as readonly Kind[];

const ipam = { type: "static", addresses: [{ address: "10.95.0.7/24" }] };
const own: Readonly<Record<Kind, object>> = {
  dummy: { ipam },
  ipvlan: { master: "up0", ipam },
  macvlan: { master: "up0", ipam },
  macvtap: { master: "up0" },
  vlan: { master: "up0", vlanId: 5, ipam },
  vrf: { vrfname: "blue" },
};

async function hostWithMaster(): Promise<CniHost> {
  const host = await cniHost(heddle);
  await host.exec(["ip", "link", "add", "up0", "up", "type", "veth", "peer", "name", "up1"]);
  return host;
}

interface Status {
  readonly error: number | undefined;
  readonly message: string;
}
async function status(host: CniHost, type: string, conf: object): Promise<Status> {
  const whole = { cniVersion: "1.1.0", name: "net", type, ...conf };
  const { error, message } = await host.call(type, { command: "STATUS" }, whole);
  return { error, message };
}
/** As `status`, and nothing is changed by it. */
async function statusOf(host: CniHost, type: string, conf: object): Promise<Status> {
  const before = await host.snapshot();
  const answer = await status(host, type, conf);
  expect(await host.snapshot()).toEqual(before);
  return answer;
}
const ready: Status = { error: undefined, message: "" };
const unavailable = (why: string): Status => ({
  error: 50,
  message: expect.stringContaining(why),
});

for (const kind of all)
  onKernelWith([kind], () =>
    test(`${kind} is ready on a kernel that has its links`, async () => {
      await using host = await hostWithMaster();
      expect(await statusOf(host, kind, own[kind])).toEqual(ready);
    }),
  );

kernelTest.each(all.filter((kind) => !kernelHas(kind)))(
  "%s says what the kernel lacks, where it does",
  async (kind) => {
    await using host = await hostWithMaster();
    const why = `links of kind ${kind} (module ${kinds[kind]})`;
    expect(await statusOf(host, kind, own[kind])).toEqual(unavailable(why));
  },
);

describe("what a configuration asks of the host", () => {
  onKernelWith(["vlan"], () =>
    test("a VLAN's master has to be up", async () => {
      await using host = await hostWithMaster();
      await host.exec(["ip", "link", "set", "up0", "down"]);
      expect(await statusOf(host, "vlan", own.vlan)).toEqual(unavailable("up0 is down"));
    }),
  );

  kernelTest("a link that has the name of a bridge has to be one", async () => {
    await using host = await hostWithMaster();
    expect(await statusOf(host, "bridge", { bridge: "up0" })).toEqual(
      unavailable("up0 that is not a bridge"),
    );
    expect(await statusOf(host, "bridge", { bridge: "new0", vlan: 5 })).toEqual(ready);
  });

  kernelTest("a bridge that is there has to keep VLANs apart if the network is in one", async () => {
    await using host = await cniHost(heddle);
    await host.exec(["ip", "link", "add", "br0", "type", "bridge"]);
    expect(await statusOf(host, "bridge", { bridge: "br0" })).toEqual(ready);
    const why = kernelHas("bridge vlan") ? "vlan_filtering 1" : "VLAN filtering of bridges";
    expect(await statusOf(host, "bridge", { bridge: "br0", vlan: 5 })).toEqual(unavailable(why));
  });

  kernelTest("the allowlist of tuning has to allow the parameters", async () => {
    await using host = await cniHost(heddle);
    const conf = { sysctl: { "net.core.somaxconn": "500" } };
    expect(await statusOf(host, "tuning", conf)).toEqual(ready);
    await host.exec(["mount", "-t", "tmpfs", "tmpfs", "/etc"]);
    await host.exec(["mkdir", "-p", "/etc/cni/tuning"]);
    await host.exec(["tee", "/etc/cni/tuning/allowlist.conf"], { stdin: "^net\\.ipv4\\." });
    expect(await statusOf(host, "tuning", conf)).toEqual(unavailable("net.core.somaxconn"));
  });

  withoutPrograms.each([
    ["portmap", { backend: "iptables" }, { backend: "nftables" }],
    ["bridge", { ipMasq: true, ipMasqBackend: "iptables" }, { ipMasqBackend: "iptables" }],
    ["ptp", { ipMasq: true, ipMasqBackend: "iptables", ipam }, { ipMasq: true, ipam }],
    ["firewall", { backend: "iptables" }, { backend: "nftables" }],
  ])("%s with iptables needs its programs, and not without", async (type, asking, other) => {
    await using host = await cniHost(heddle);
    expect(await statusOf(host, type, asking)).toEqual(ready);
    await host.exec(["mount", "-t", "tmpfs", "tmpfs", ALTERNATIVES]);
    expect([await status(host, type, asking), await status(host, type, other)]).toEqual([
      unavailable("package iptables"),
      ready,
    ]);
  });
});
