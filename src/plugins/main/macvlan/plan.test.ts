import { describe, expect, test } from "bun:test";
import { type Facts, factKey } from "../../../netstate/facts.ts";
import { hostWith, MASTER_MAC, refusedField } from "../../../testing/master-plan.ts";
import { confOf, fresh, inputOf, linkFact, mac, noFacts, objectsOf } from "../../../testing/plan.ts";
import { shimName } from "../../shared/host-access.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const ipam = { type: "host-local" };
const V4 = { ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1" }], routes: [{ dst: "0.0.0.0/0" }] };
const DUAL = { ...V4, ips: [...V4.ips, { address: "fd00::3/64" }] };

const configOf = (raw: object) => parseConfig(confOf("macvlan", { ...raw }));
const planOf = (raw: object, lease?: Readonly<Record<string, unknown>>, facts = hostWith()) =>
  plan(inputOf(configOf({ master: "eth0", ...raw }), lease), facts);

describe("the configuration of macvlan", () => {
  test("has the defaults of the reference, and none of the kernel's", () => {
    const defaults = {
      linkInContainer: false,
      mode: "bridge",
      dad: "optimistic",
      hostAccess: false,
    } as const;
    expect(configOf({})).toEqual(defaults);
    expect(configOf({ master: "", mode: "", mac: "", mtu: 0, bcqueuelen: 0, ipam: {} })).toEqual(defaults);
  });
  test("is read", () => {
    const raw = {
      master: "eth0",
      mode: "vepa",
      mtu: 1400,
      mac: "02:00:00:00:00:42",
      bcqueuelen: 4294967295,
      enabledad: false,
      linkInContainer: true,
      ipam,
    };
    expect(configOf(raw)).toMatchObject({
      master: "eth0" as never,
      mode: "vepa",
      mtuBytes: 1400,
      mac: mac("02:00:00:00:00:42"),
      broadcastQueueLength: 4294967295,
      dad: false,
      linkInContainer: true,
      ipam: "host-local",
    });
  });
  test.each([
    ["master", { master: "a/b" }],
    ["master", { master: 7 }],
    ["mode", { mode: "mode" }],
    ["mode", { mode: 4 }],
    ["mtu", { mtu: -1 }],
    ["mtu", { mtu: 67 }],
    ["mtu", { mtu: 65536 }],
    ["mac", { mac: "nonsense" }],
    ["mac", { mac: "01:00:00:00:00:01" }],
    ["bcqueuelen", { bcqueuelen: -1 }],
    ["bcqueuelen", { bcqueuelen: 4294967296 }],
    ["linkInContainer", { linkInContainer: "yes" }],
    ["enabledad", { enabledad: 1 }],
    ["hostAccess", { hostAccess: "true" }],
    ["hostAccess", { hostAccess: true }],
    ["hostAccess", { hostAccess: true, ipam, mode: "private" }],
    ["hostAccess", { hostAccess: true, ipam, mode: "vepa" }],
    ["hostAccess", { hostAccess: true, ipam, mode: "passthru" }],
    ["hostAccess", { hostAccess: true, ipam, linkInContainer: true }],
    ["ipam.type", { ipam: { type: 3 } }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refusedField(() => configOf(raw))).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("macvlan", { mode: "none", ipam })).ipam).toBe("host-local");
    expect(parseForRemoval(confOf("macvlan", { mode: "none" })).ipam).toBeUndefined();
  });
});

describe("what macvlan has to know", () => {
  const needsOf = (raw: object) => needs(inputOf(configOf(raw), V4));
  test("is its master, or the link of the default route, where it is", () => {
    expect(needsOf({ master: "eth0" })).toEqual({
      links: [{ place: "host", name: "eth0", addresses: false }],
      device: { link: "eth0" },
    });
    expect(needsOf({})).toEqual({ uplink: "host", device: "uplink" });
    expect(needsOf({ linkInContainer: true })).toEqual({ uplink: "container" });
  });
  test("are addresses of the host only for hostAccess", () => {
    expect(needsOf({ master: "eth0", hostAccess: true, ipam }).links?.[0]?.addresses).toBe(true);
    expect(needsOf({ hostAccess: true, ipam }).uplinkAddresses).toBe(true);
  });
});

describe("the plan of macvlan", () => {
  test("without IPAM is a link that is up", () => {
    const { state, result } = planOf({});
    expect(state.objects).toEqual([
      {
        kind: "link",
        possession: "exclusive",
        place: "container",
        name: "eth0",
        type: { kind: "macvlan", mode: "bridge" },
        lower: { place: "host", name: "eth0" },
        mac: fresh.containerMac,
      },
      { kind: "link-up", possession: "exclusive", place: "container", link: "eth0" },
    ]);
    expect(result).toEqual({
      interfaces: [{ name: "eth0", mac: fresh.containerMac, mtu: 1500, sandbox: "/run/netns/c" }],
      ips: [],
      routes: [],
      dns: {},
    });
  });
  test("takes the link of the default route if no master is named", () => {
    const { state } = plan(inputOf(configOf({}), undefined), hostWith());
    expect(objectsOf(state, "link")[0]?.lower).toEqual({ place: "host", name: "eth0" });
    expect(refusedField(() => plan(inputOf(configOf({}), undefined), noFacts))).toBe("master");
  });
  test("in CHECK asks for the master that the interface has, if none is named", () => {
    const final = {
      ...V4,
      interfaces: [{ name: "eth0", mac: fresh.containerMac, sandbox: "/run/netns/c" }],
    };
    const input = inputOf(configOf({ ipam }), final, final);
    expect(needs(input).uplink).toEqual({ place: "host", below: "eth0" });
    expect(refusedField(() => plan(input, noFacts))).toBe("check/differs");
  });
  test.each([
    ["is not there", "eth9", hostWith()],
    [
      "is the loopback",
      "lo",
      { ...noFacts, links: new Map([[factKey("host", "lo"), linkFact("lo", { loopback: true })]]) },
    ],
  ])("refuses a master that %s", (_, master, facts) => {
    expect(refusedField(() => planOf({ master }, undefined, facts))).toBe("master");
  });
  test("has the master's size, or less", () => {
    expect(planOf({ mtu: 1400 }).result.interfaces[0]?.mtu).toBe(1400);
    expect(objectsOf(planOf({ mtu: 1500 }).state, "link")[0]?.mtuBytes).toBe(1500);
    expect(refusedField(() => planOf({ mtu: 1501 }))).toBe("mtu");
  });
  test("in mode passthru has the master's MAC address, or gives it its own", () => {
    const inherited = planOf({ mode: "passthru" });
    expect(inherited.result.interfaces[0]?.mac).toBe(MASTER_MAC);
    expect(objectsOf(inherited.state, "link")[0]).not.toHaveProperty("mac");
    const asked = {
      ...inputOf(configOf({ master: "eth0", mode: "passthru" }), undefined),
      mac: fresh.hostMac,
    };
    expect(plan(asked, hostWith()).result.interfaces[0]?.mac).toBe(fresh.hostMac);
    expect(objectsOf(plan(asked, hostWith()).state, "link")[0]?.mac).toBe(fresh.hostMac);
  });
  test("gives the container its addresses and routes, and asks for duplicates without waiting", () => {
    const { state, result } = planOf({ ipam }, DUAL);
    expect(objectsOf(state, "address").map((a) => [a.address.text, a.dad])).toEqual([
      ["10.1.2.3/24", "optimistic"],
      ["fd00::3/64", "optimistic"],
    ]);
    expect(objectsOf(state, "route").map((r) => [r.dst.text, r.gateway?.text])).toEqual([
      ["0.0.0.0/0", "10.1.2.1"],
    ]);
    const sysctls = new Map(objectsOf(state, "sysctl").map((s) => [s.key, s.value]));
    for (const key of [
      "ipv4/conf/eth0/arp_notify",
      "ipv6/conf/eth0/ndisc_notify",
      "ipv6/conf/eth0/optimistic_dad",
    ])
      expect(sysctls.get(`net/${key}`)).toBe("1");
    expect(result.ips.map((ip) => ip.interface)).toEqual([0, 0]);
  });
  test("warns of a master that carries no other MAC address", () => {
    const wireless = { wireless: true, virtualFunction: false };
    const warningsOn = (device: Facts["device"]) =>
      planOf({}, undefined, { ...hostWith(), ...(device ? { device } : {}) }).warnings;
    expect(warningsOn(undefined)).toEqual([]);
    expect(warningsOn({ wireless: false, virtualFunction: false, driver: "e1000e" })).toEqual([]);
    expect(warningsOn(wireless)?.[0]).toContain("eth0 is wireless");
    expect(warningsOn({ wireless: false, virtualFunction: false, driver: "vmxnet3" })?.[0]).toContain(
      "ipvlan",
    );
    expect(warningsOn({ wireless: false, virtualFunction: true, driver: "iavf" })?.[0]).toContain("trust");
  });
});

describe("hostAccess of macvlan", () => {
  const access = (lease: Readonly<Record<string, unknown>>, ...addresses: readonly string[]) =>
    planOf({ hostAccess: true, ipam }, lease, hostWith(...addresses)).state;
  const SHIM = shimName("eth0", { kind: "macvlan", mode: "bridge" });

  test("is a shared link of the same kind on the same master, with a name that fits", () => {
    const [, shim] = objectsOf(access(V4, "10.1.2.9/24"), "link");
    expect(shim).toMatchObject({
      possession: "shared",
      place: "host",
      name: SHIM,
      type: { kind: "macvlan", mode: "bridge" },
      lower: { place: "host", name: "eth0" },
    });
    expect(SHIM.length).toBeLessThanOrEqual(15);
    expect(shimName("eth1", { kind: "macvlan", mode: "bridge" })).not.toBe(SHIM);
    // Whoever makes it again makes it the same.
    expect(objectsOf(access(DUAL, "10.1.2.9/24", "fd00::9/64"), "link")[1]).toEqual(shim as never);
  });
  test("tells both ends where the other is, in the families that both have", () => {
    const state = access(DUAL, "10.1.2.9/24", "fe80::1/64");
    const shimMac = objectsOf(state, "link")[1]?.mac;
    expect(objectsOf(state, "neighbour").map((n) => [n.place, n.link, n.ip.text, n.mac])).toEqual([
      ["host", SHIM, "10.1.2.3", fresh.containerMac],
      ["container", "eth0", "10.1.2.9", shimMac as typeof fresh.containerMac],
    ]);
    const routes = objectsOf(state, "route").filter((r) => r.place === "host");
    expect(routes.map((r) => [r.dst.text, r.link, r.src?.text, r.marked])).toEqual([
      ["10.1.2.3/32", SHIM, "10.1.2.9", true],
    ]);
  });
  test("routes to an address of the host that is in no network of the container's", () => {
    const inside = objectsOf(access(V4, "10.1.2.9/24", "192.0.2.1/24"), "route").filter(
      (r) => r.place === "container",
    );
    expect(inside.map((r) => [r.dst.text, r.link, r.gateway?.text])).toEqual([
      ["0.0.0.0/0", "eth0", "10.1.2.1"],
      ["192.0.2.1/32", "eth0", undefined],
    ]);
  });
  test("is refused where the host has no address to be reached by", () => {
    expect(refusedField(() => access(V4, "fd00::9/64"))).toBe("hostAccess");
  });
  test("takes addresses that go by themselves only if there is no other", () => {
    const going = hostWith("10.1.2.8/24", "10.1.2.9/24");
    const some = (permanent: (text: string) => boolean): Facts => ({
      ...going,
      addresses: new Map(
        [...going.addresses].map(([key, list]) => [
          key,
          list.map((a) => ({ ...a, permanent: permanent(a.prefix.ip.text) })),
        ]),
      ),
    });
    const told = (facts: Facts) =>
      objectsOf(planOf({ hostAccess: true, ipam }, V4, facts).state, "neighbour")
        .filter((n) => n.place === "container")
        .map((n) => n.ip.text);
    expect(told(some((text) => text === "10.1.2.9"))).toEqual(["10.1.2.9"]);
    expect(told(some(() => false))).toEqual(["10.1.2.8"]);
  });
});
