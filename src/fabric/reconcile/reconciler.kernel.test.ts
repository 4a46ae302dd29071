import { describe, expect } from "bun:test";
import { cidr, ip } from "../../testing/address.ts";
import { fabricNode, macOf, numbered, numberedNetwork, subnets, vxlanData } from "../../testing/fabric.ts";
import { type FabricHost, fabricLan } from "../../testing/fabric-lan.ts";
import { plainRows as plain, shownObjects as shown } from "../../testing/kernel-objects.ts";
import { kernelTest as test } from "../../testing/needs.ts";
import { type HostState, nothing } from "../host-state.ts";
import type { View } from "../model.ts";
import { vxlanTransport } from "../transport/vxlan.ts";
import type { Report } from "./report.ts";

const options = { vni: 1, port: 8472, gbp: false, learning: false, directRouting: false };
const transport = vxlanTransport(options, () => macOf(99));

/** A cluster of this host, number 1, and of peers by their numbers, in dual stack. */
const viewWith = (...peers: readonly number[]): View => ({
  network: numberedNetwork,
  self: numbered(1, [4, 6]),
  peers: peers.map((n) => numbered(n, [4, 6])),
});
const desiredOn = (host: FabricHost, ...peers: readonly number[]): HostState =>
  transport.desired(viewWith(...peers), host.facts).state;

/** `action kind key`, sorted. */
const told = ({ changes }: Report): readonly string[] =>
  changes.map(({ action, object, key }) => `${action} ${object} ${key}`).toSorted();
const failed = ({ failures }: Report): readonly string[] =>
  failures.map(({ object, key, error }) => `${object} ${key}: ${error.message}`);
const isQuiet = (report: Report): void =>
  expect(report).toEqual({ full: report.full, changes: [], failures: [], fights: [], waiting: 0 });

const routesTo = async (host: FabricHost, link: string): Promise<readonly string[]> =>
  (await host.json<readonly { readonly dst: string }[]>("ip", "-j", "route", "show", "dev", link)).map(
    (r) => r.dst,
  );

test("what nobody wants stays for as long as it is to be kept, and goes with the next look", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  host.reconciler.reconcile(desiredOn(host, 2, 3));
  await host.ip("route del 10.128.2.0/24");
  host.reconciler.relist();
  const kept = host.reconciler.reconcile(desiredOn(host, 2), { keep: true });
  expect(told(kept)).toEqual(["repaired route 10.128.2.0/24"]);
  isQuiet(host.reconciler.reconcile(nothing, { keep: true }));
  const routes = await routesTo(host, "flannel.1");
  expect(routes.toSorted()).toEqual(["10.128.2.0/24", "10.128.3.0/24"]);
  const swept = host.reconciler.reconcile(nothing);
  expect([failed(swept), swept.full]).toEqual([[], true]);
  expect(await host.json<readonly unknown[]>("ip", "-j", "link", "show", "type", "vxlan")).toEqual([]);
});

describe("a new host", () => {
  test("has the same as one that was set up by hand", async () => {
    await using lan = await fabricLan(2);
    const [host, byHand] = lan.hosts as [FabricHost, FabricHost];
    const report = host.reconciler.reconcile(desiredOn(host, 2));
    expect(failed(report)).toEqual([]);
    expect(report.changes.length).toBe(12);
    isQuiet(host.reconciler.reconcile(desiredOn(host, 2)));
    host.reconciler.relist();
    isQuiet(host.reconciler.reconcile(desiredOn(host, 2)));

    const link = (name: string, n: 4 | 6, local: string, mtu: number): string =>
      `link add ${name} address ${macOf(1, n)} mtu ${mtu} type vxlan id 1 local ${local} dev eth0 dstport 8472 nolearning`;
    await byHand.ip(
      link("flannel.1", 4, "192.0.2.1", 1450),
      link("flannel-v6.1", 6, "2001:db8::1", 1430),
      "link set flannel.1 up",
      "link set flannel-v6.1 up",
      "address add 10.128.1.0/32 dev flannel.1",
      "address add fd00:10:0:1::/128 dev flannel-v6.1 nodad",
      `neigh add 10.128.2.0 lladdr ${macOf(2)} dev flannel.1 nud permanent`,
      `neigh add fd00:10:0:2:: lladdr ${macOf(2, 6)} dev flannel-v6.1 nud permanent`,
      "route add 10.128.2.0/24 via 10.128.2.0 dev flannel.1 onlink",
      "route add fd00:10:0:2::/64 via fd00:10:0:2:: dev flannel-v6.1 onlink",
    );
    await byHand.net.exec(["bridge", "fdb", "add", macOf(2), "dev", "flannel.1", "dst", "192.168.0.2"]);
    await byHand.net.exec(["bridge", "fdb", "add", macOf(2, 6), "dev", "flannel-v6.1", "dst", "2001:db8::2"]);
    const links = ["flannel.1", "flannel-v6.1"];
    const mine = await shown(host, ...links);
    expect(mine.length).toBeGreaterThan(8);
    expect(mine).toEqual(await shown(byHand, ...links));
    expect(await host.json("ip", "-j", "-d", "link", "show", "flannel.1")).toMatchObject([
      { altnames: ["heddle-fabric-test-flannel.1"] },
    ]);
    expect((await host.net.exec(["cat", "/proc/sys/net/ipv6/conf/flannel.1/accept_ra"])).stdout).toBe("0\n");
  });

  test("takes over what is there and fits, and no packet is lost for it", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    const desired = transport.desired({ ...viewWith(2), self: numbered(1) }, host.facts).state;
    await host.ip(
      `link add flannel.1 address ${macOf(1)} mtu 1450 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning`,
      "link set flannel.1 up",
      "address add 10.128.1.0/32 dev flannel.1",
      `neigh add 10.128.2.0 lladdr ${macOf(2)} dev flannel.1 nud permanent`,
      "route add 10.128.2.0/24 via 10.128.2.0 dev flannel.1 onlink",
    );
    await host.net.exec(["bridge", "fdb", "add", macOf(2), "dev", "flannel.1", "dst", "192.168.0.2"]);
    await host.net.exec(["sysctl", "-q", "-w", "net.ipv6.conf.flannel/1.accept_ra=0"]);
    const before = await host.json("ip", "-j", "link", "show", "flannel.1");
    expect(told(host.reconciler.reconcile(desired))).toEqual(["adopted link flannel.1"]);
    expect(await host.json("ip", "-j", "link", "show", "flannel.1")).toMatchObject([
      { ifindex: before[0]?.["ifindex"] },
    ]);
    host.reconciler.relist();
    isQuiet(host.reconciler.reconcile(desired));
  });
});

test("another program's device is brought up for its address and route, and again when somebody sets it down", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  const device = "flannel0";
  const desired: HostState = {
    ...nothing,
    addresses: [{ link: device, address: cidr("10.128.1.0/32") }],
    routes: [{ dst: cidr("10.128.0.0/16"), link: device }],
  };
  expect(host.reconciler.reconcile(desired)).toMatchObject({ failures: [], waiting: 2 });
  await host.ip("tuntap add flannel0 mode tun");
  host.reconciler.relist();
  expect(told(host.reconciler.reconcile(desired))).toEqual([
    "added address 10.128.1.0/32 flannel0",
    "added link flannel0",
    "added route 10.128.0.0/16",
  ]);
  await host.ip("link set flannel0 down");
  host.reconciler.relist();
  const report = host.reconciler.reconcile(desired);
  expect([failed(report), told(report)]).toEqual([
    [],
    ["repaired link flannel0", "repaired route 10.128.0.0/16"],
  ]);
  host.reconciler.relist();
  isQuiet(host.reconciler.reconcile(desired));
});

test("a link of another fabric is not taken over, and stays when this one wants none", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  await host.ip(
    "link add flannel.1 type vxlan id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning",
    // Its owner is `test-2`, and this reconciler's is `test`.
    "link property add dev flannel.1 altname heddle-fabric-test-2-flannel.1",
  );
  const report = host.reconciler.reconcile(desiredOn(host, 2));
  expect(failed(report).join()).toContain("another fabric's");
  host.reconciler.reconcile(nothing);
  expect(await host.json("ip", "-j", "link", "show", "flannel.1")).toMatchObject([
    { altnames: ["heddle-fabric-test-2-flannel.1"] },
  ]);
});

describe("a link that is there and does not fit", () => {
  test.each([
    ["another port", "id 1 local 192.0.2.1 dev eth0 dstport 4789 nolearning"],
    ["another source", "id 1 local 192.0.2.99 dev eth0 dstport 8472 nolearning"],
    ["another link below", "id 1 local 192.0.2.1 dstport 8472 nolearning"],
    ["another number", "id 7 local 192.0.2.1 dev eth0 dstport 8472 nolearning"],
    ["a policy", "id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning gbp"],
    ["calls for misses", "id 1 local 192.0.2.1 dev eth0 dstport 8472 nolearning l2miss"],
  ])("is made anew if it has %s", async (_, type) => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    await host.ip(`link add flannel.1 type vxlan ${type}`, "link set flannel.1 up");
    const report = host.reconciler.reconcile(desiredOn(host, 2));
    expect(failed(report)).toEqual([]);
    expect(told(report)).toContain("replaced link flannel.1");
    expect(await routesTo(host, "flannel.1")).toEqual(["10.128.2.0/24"]);
  });

  test("is changed where it can be, and stays the same link", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    host.reconciler.reconcile(desiredOn(host, 2));
    const index = async (): Promise<unknown> =>
      (await host.json("ip", "-j", "link", "show", "flannel.1"))[0]?.["ifindex"];
    const before = await index();
    await host.ip(
      `link set flannel.1 address ${macOf(77)}`,
      "link set flannel.1 mtu 1300",
      "link set flannel.1 type vxlan learning",
    );
    host.reconciler.relist();
    const report = host.reconciler.reconcile(desiredOn(host, 2));
    // With a link's hardware address the kernel forgets its neighbours.
    expect([failed(report), told(report)]).toEqual([
      [],
      ["repaired link flannel.1", "repaired neighbour 10.128.2.0 flannel.1"],
    ]);
    expect(await index()).toBe(before);
    await host.ip("link set flannel.1 down");
    host.reconciler.relist();
    const second = host.reconciler.reconcile(desiredOn(host, 2));
    expect(failed(second)).toEqual([]);
    expect(told(second)).toContain("repaired link flannel.1");
    expect(told(second)).toContain("repaired route 10.128.2.0/24");
    expect(await index()).toBe(before);
    host.reconciler.relist();
    isQuiet(host.reconciler.reconcile(desiredOn(host, 2)));
  });

  test("is left alone if it is of another kind, and the rest goes on", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    await host.ip("link add flannel.1 type bridge", "address add 10.9.9.9/24 dev flannel.1");
    const report = host.reconciler.reconcile(desiredOn(host, 2));
    expect(failed(report)).toEqual([
      "link flannel.1: a link flannel.1 of the kind bridge, not vxlan already exists in this host",
    ]);
    // Its address, neighbour, forwarding entry and route wait for it; accept_ra is a bridge's as well.
    expect(report.waiting).toBe(4);
    expect(report.retryInMs).toBeGreaterThan(0);
    expect(told(report)).toContain("added route fd00:10:0:2::/64");
    expect(await host.json("ip", "-d", "-j", "link", "show", "flannel.1")).toMatchObject([
      { linkinfo: { info_kind: "bridge" } },
    ]);
  });
});

test("a device of somebody else's gets its address and routes when it is there", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  const desired = (address: string): HostState => ({
    ...nothing,
    addresses: [{ link: "device0", address: cidr(address) }],
    routes: [{ dst: cidr("10.0.0.0/8"), link: "device0" }],
  });
  expect(host.reconciler.reconcile(desired("10.0.1.0/32"))).toMatchObject({ failures: [], waiting: 2 });
  await host.ip("link add device0 type bridge", "link set device0 up");
  host.reconciler.relist();
  expect(told(host.reconciler.reconcile(desired("10.0.1.0/32")))).toEqual([
    "added address 10.0.1.0/32 device0",
    "added route 10.0.0.0/8",
  ]);
  expect(told(host.reconciler.reconcile(desired("10.0.2.0/32")))).toEqual([
    "added address 10.0.2.0/32 device0",
    "removed address 10.0.1.0/32 device0",
  ]);
  host.reconciler.relist();
  isQuiet(host.reconciler.reconcile(desired("10.0.2.0/32")));
});

describe("what nobody wants any longer", () => {
  test("goes if it is ours, and stays if it is a stranger's", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    host.reconciler.reconcile(desiredOn(host, 2, 3));
    await host.ip(
      "route add 10.77.0.0/16 via 192.0.2.77",
      "route add 10.78.0.0/16 via 192.0.2.77 proto 73",
      "route add blackhole 10.79.0.0/16 proto 73",
      "route add fd78::/16 via 2001:db8::77 proto 73",
      "route add 10.80.0.0/16 dev flannel.1",
      "route add 10.81.0.0/16 dev flannel.1 metric 5",
      `neigh add 192.0.2.77 lladdr ${macOf(77)} dev eth0 nud permanent`,
      `neigh add 10.80.0.1 lladdr ${macOf(80)} dev flannel.1 nud permanent`,
      "address add 10.82.0.1/32 dev flannel.1",
      "link add vxlan9 type vxlan id 9 dstport 4789 local 192.0.2.1",
    );
    await host.net.exec(["bridge", "fdb", "add", macOf(80), "dev", "flannel.1", "dst", "192.0.2.80"]);
    await host.net.exec(["bridge", "fdb", "add", macOf(81), "dev", "vxlan9", "dst", "192.0.2.80"]);
    host.reconciler.relist();
    const report = host.reconciler.reconcile(desiredOn(host, 3));
    expect(failed(report)).toEqual([]);
    expect(told(report)).toEqual(
      [
        "removed address 10.82.0.1/32 flannel.1",
        `removed forwarding ${macOf(2)} flannel.1`,
        `removed forwarding ${macOf(80)} flannel.1`,
        `removed forwarding ${macOf(2, 6)} flannel-v6.1`,
        "removed neighbour 10.128.2.0 flannel.1",
        "removed neighbour 10.80.0.1 flannel.1",
        "removed neighbour fd00:10:0:2:: flannel-v6.1",
        "removed route 10.128.2.0/24",
        "removed route 10.78.0.0/16",
        "removed route 10.79.0.0/16",
        "removed route 10.80.0.0/16",
        "removed route 10.81.0.0/16 metric 5",
        "removed route fd00:10:0:2::/64",
        "removed route fd78::/16",
      ].toSorted(),
    );
    expect(await routesTo(host, "eth0")).toEqual(["10.77.0.0/16", "192.0.2.0/24"]);
    expect(await host.json("ip", "-j", "neigh", "show", "192.0.2.77", "dev", "eth0")).toHaveLength(1);
    expect(plain(await host.json("bridge", "-j", "fdb", "show", "dev", "vxlan9")).join("")).toContain(
      macOf(81),
    );
  });

  test("goes with its link when the fabric ends or is built otherwise", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    host.reconciler.reconcile(desiredOn(host, 2));
    const other = vxlanTransport({ ...options, vni: 2 }, () => macOf(98));
    const self = { ...numbered(1), backend: { type: "vxlan", v4: { VNI: 2, VtepMAC: macOf(1) } } };
    const report = host.reconciler.reconcile(other.desired({ ...viewWith(), self }, host.facts).state);
    expect(failed(report)).toEqual([]);
    expect(told(report)).toContain("removed link flannel.1");
    const names = async (): Promise<readonly unknown[]> =>
      (await host.json("ip", "-j", "link", "show")).map((l) => l["ifname"]).toSorted();
    expect(await names()).toEqual(["eth0", "flannel.2", "lo"]);
    expect(told(host.reconciler.reconcile(nothing))).toContain("removed link flannel.2");
    expect(await names()).toEqual(["eth0", "lo"]);
  });
});

describe("routes", () => {
  const self = fabricNode("self", { v4: "10.0.1.0/24", at4: "192.0.2.1" });
  const routes = (...list: HostState["routes"]): HostState => ({ ...nothing, routes: list });
  const via = (dst: string, gateway: string) => ({ dst: cidr(dst), link: "eth0", gateway: ip(gateway) });

  test("take the place of a stranger's, and never of the host's own", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    await host.ip(
      "route add 10.0.2.0/24 via 192.0.2.66",
      "link add cni0 type bridge",
      "link set cni0 up",
      "address add 10.0.3.1/24 dev cni0",
    );
    const report = host.reconciler.reconcile(
      routes(
        via("10.0.2.0/24", "192.0.2.2"),
        via("10.0.3.0/24", "192.0.2.3"),
        via("10.0.4.0/24", "192.0.2.4"),
      ),
    );
    expect(told(report)).toEqual(["added route 10.0.4.0/24", "replaced route 10.0.2.0/24"]);
    expect(failed(report)).toEqual([
      "route 10.0.3.0/24: a route to 10.0.3.0/24 that this host has by an address of its own already exists in the main routing table",
    ]);
    expect(await host.json("ip", "-j", "route", "show", "10.0.2.0/24")).toMatchObject([
      { gateway: "192.0.2.2" },
    ]);
    expect(await host.json("ip", "-j", "route", "show", "10.0.3.0/24")).toMatchObject([{ dev: "cni0" }]);
  });

  test("of which the kernel refuses one are set but for that one, which is tried again", async () => {
    let time = 0;
    await using lan = await fabricLan(1, () => time);
    const [host] = lan.hosts as [FabricHost];
    const desired = routes(
      via("10.0.2.0/24", "192.0.2.2"),
      via("10.0.3.0/24", "198.51.100.3"),
      via("10.0.4.0/24", "192.0.2.4"),
    );
    const first = host.reconciler.reconcile(desired);
    expect(failed(first)).toEqual([
      expect.stringContaining("route 10.0.3.0/24: RTM_NEWROUTE 10.0.3.0/24 via 198.51.100.3: ENETUNREACH"),
    ]);
    expect([told(first).length, first.retryInMs]).toEqual([2, 1000]);
    expect(host.reconciler.reconcile(desired)).toMatchObject({ failures: [], waiting: 1, retryInMs: 1000 });
    time = 1000;
    expect(host.reconciler.reconcile(desired)).toMatchObject({ waiting: 0, retryInMs: 2000 });
    time = 3000;
    await host.ip("address add 198.51.100.1/24 dev eth0");
    expect(told(host.reconciler.reconcile(desired))).toEqual(["added route 10.0.3.0/24"]);
    isQuiet(host.reconciler.reconcile(desired));
  });

  test("may be holes, in both families", async () => {
    await using lan = await fabricLan(1);
    const [host] = lan.hosts as [FabricHost];
    const holes = routes({ dst: cidr("10.0.1.0/24") }, { dst: cidr("fd00:1::/64") });
    expect(told(host.reconciler.reconcile(holes))).toEqual([
      "added route 10.0.1.0/24",
      "added route fd00:1::/64",
    ]);
    host.reconciler.relist();
    isQuiet(host.reconciler.reconcile(holes));
    expect(await host.json("ip", "-j", "route", "show", "10.0.1.0/24")).toMatchObject([
      { type: "blackhole" },
    ]);
    expect(await host.json("ip", "-6", "-j", "route", "show", "fd00:1::/64")).toMatchObject([
      { type: "blackhole" },
    ]);
    expect(told(host.reconciler.reconcile(nothing)).length).toBe(2);
    expect(self.subnets).toEqual(subnets({ v4: "10.0.1.0/24" }));
    expect(vxlanData(1).type).toBe("vxlan");
  });
});
