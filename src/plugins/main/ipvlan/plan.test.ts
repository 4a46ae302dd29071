import { describe, expect, test } from "bun:test";
import { factKey } from "../../../netstate/facts.ts";
import { hostWith, MASTER_MAC, refusedField } from "../../../testing/master-plan.ts";
import { confOf, inputOf, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const ipam = { type: "host-local" };
const V4 = { ips: [{ address: "10.1.2.3/24" }] };
const DUAL = { ips: [...V4.ips, { address: "fd00::3/64" }] };
const configOf = (raw: object) => parseConfig(confOf("ipvlan", { ...raw }));
const planOf = (raw: object, lease?: Json, facts = hostWith(), prevResult?: Json) =>
  plan(inputOf(configOf({ ipam, ...raw }), lease, prevResult), facts);

describe("the configuration of ipvlan", () => {
  test("has the defaults of the reference", () => {
    const defaults = { linkInContainer: false, mode: "l2", dad: "optimistic", hostAccess: false } as const;
    expect(configOf({})).toEqual(defaults);
    expect(configOf({ master: "", mode: "", mtu: 0, ipam: { type: "" } })).toEqual(defaults);
  });
  test.each([
    ["master", { master: "a b" }],
    ["mode", { mode: "L2" }],
    ["mode", { mode: 2 }],
    ["mtu", { mtu: -1 }],
    ["mtu", { mtu: 67 }],
    ["linkInContainer", { linkInContainer: "yes" }],
    ["enabledad", { enabledad: 1 }],
    ["hostAccess", { hostAccess: 1 }],
    ["hostAccess", { hostAccess: true, linkInContainer: true }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refusedField(() => configOf(raw))).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("ipvlan", { mode: "l4", ipam })).ipam).toBe("host-local");
  });
});

describe("the plan of ipvlan", () => {
  test.each(["l2", "l3", "l3s"] as const)("is a link in mode %s with the master's MAC address", (mode) => {
    const { state, result } = planOf({ mode, master: "eth0" }, V4);
    expect(objectsOf(state, "link")[0]).toEqual({
      kind: "link",
      possession: "exclusive",
      place: "container",
      name: "eth0",
      type: { kind: "ipvlan", mode },
      lower: { place: "host", name: "eth0" },
    });
    expect(result.interfaces).toEqual([
      { name: "eth0", mac: MASTER_MAC, mtu: 1500, sandbox: "/run/netns/c" },
    ]);
  });
  test("needs an address, from IPAM or from the plugin before", () => {
    expect(refusedField(() => planOf({ ipam: undefined, master: "eth0" }))).toBe("ipam");
    expect(
      refusedField(() =>
        planOf({ ipam: undefined }, undefined, hostWith(), { interfaces: [{ name: "eth0" }] }),
      ),
    ).toBe("ipam");
  });
  test("may not be larger than its master", () => {
    expect(refusedField(() => planOf({ mtu: 1501 }, V4))).toBe("mtu");
    expect(planOf({ mtu: 1300 }, V4).result.interfaces[0]?.mtu).toBe(1300);
  });
  test("takes the link of the default route if it is the first and no master is named", () => {
    expect(needs(inputOf(configOf({ ipam }), V4))).toEqual({ uplink: "host" });
    expect(refusedField(() => planOf({}, V4, noFacts))).toBe("master");
  });
});

describe("ipvlan behind another plugin", () => {
  const before = { ...V4, interfaces: [{ name: "eth0" }], routes: [{ dst: "0.0.0.0/0", gw: "10.1.2.1" }] };
  test("hangs on the one interface of the result, and has its addresses and routes", () => {
    const { state, result } = planOf(
      { ipam: undefined },
      undefined,
      { ...hostWith(), uplink: undefined } as never,
      before,
    );
    expect(objectsOf(state, "link")[0]?.lower).toEqual({ place: "host", name: "eth0" });
    expect(objectsOf(state, "address").map((a) => a.address.text)).toEqual(["10.1.2.3/24"]);
    expect(result.interfaces).toHaveLength(1);
    expect(result.ips.map((ip) => ip.interface)).toEqual([0]);
    expect(result.routes.map((r) => r.gw?.text)).toEqual(["10.1.2.1"]);
  });
  test("takes addresses of IPAM if there is one", () => {
    const lease = { ips: [{ address: "10.9.9.9/24" }] };
    const { state } = planOf({}, lease, hostWith(), before);
    expect(objectsOf(state, "address").map((a) => a.address.text)).toEqual(["10.9.9.9/24"]);
  });
  test.each([
    ["no interface", []],
    ["two interfaces", [{ name: "eth0" }, { name: "eth1" }]],
    ["an interface without a usable name", [{ name: "a/b" }]],
  ])("refuses a result with %s unless the master is named", (_, interfaces) => {
    const prev = { ...V4, interfaces };
    expect(refusedField(() => planOf({}, V4, hostWith(), prev))).toBe("prev-result/invalid");
    expect(planOf({ master: "eth0" }, V4, hostWith(), prev).result.ips).toHaveLength(1);
  });
  test("in CHECK takes the final result for nobody's but its own", () => {
    const final = { ...V4, interfaces: [{ name: "eth0", sandbox: "/run/netns/c" }] };
    const input = inputOf(configOf({}), final, final);
    expect(needs(input)).toEqual({ uplink: { place: "host", below: "eth0" } });
    expect(objectsOf(plan(input, hostWith()).state, "address")).toHaveLength(1);
  });
});

describe("hostAccess of ipvlan", () => {
  const host = hostWith("10.1.2.9/24", "fd00::9/64");
  test("in mode l2 tells both ends the master's MAC address", () => {
    const { state } = planOf({ hostAccess: true, master: "eth0" }, DUAL, host);
    const [, shim] = objectsOf(state, "link");
    expect(shim).toMatchObject({ possession: "shared", place: "host", type: { kind: "ipvlan", mode: "l2" } });
    expect(shim).not.toHaveProperty("mac");
    expect(objectsOf(state, "neighbour").map((n) => [n.place, n.ip.text, n.mac])).toEqual([
      ["host", "10.1.2.3", MASTER_MAC],
      ["host", "fd00::3", MASTER_MAC],
      ["container", "10.1.2.9", MASTER_MAC],
      ["container", "fd00::9", MASTER_MAC],
    ]);
  });
  test.each(["l3", "l3s"])("in mode %s is routes alone", (mode) => {
    const { state } = planOf({ hostAccess: true, master: "eth0", mode }, DUAL, host);
    expect(objectsOf(state, "neighbour")).toEqual([]);
    expect(objectsOf(state, "route").map((r) => [r.place, r.dst.text, r.src?.text])).toEqual([
      ["host", "10.1.2.3/32", "10.1.2.9"],
      ["host", "fd00::3/128", "fd00::9"],
    ]);
  });
  test("is refused in mode l2 on a host that filters strictly by the reverse path", () => {
    const filtering = (all: string, own: string) => ({
      ...host,
      sysctls: new Map([
        [factKey("host", "net/ipv4/conf/all/rp_filter"), all],
        [factKey("host", "net/ipv4/conf/eth0/rp_filter"), own],
      ]),
    });
    const refused = (mode: string, all: string, own: string) =>
      refusedField(() => planOf({ hostAccess: true, mode }, DUAL, filtering(all, own)));
    expect(refused("l2", "1", "0")).toBe("hostAccess");
    expect(refused("l2", "0", "1")).toBe("hostAccess");
    expect(refused("l2", "1", "2")).toBeUndefined();
    expect(refused("l2", "0", "0")).toBeUndefined();
    expect(refused("l3", "1", "1")).toBeUndefined();
    const keys = needs(inputOf(configOf({ ipam, hostAccess: true }), V4)).sysctls?.map((s) => s.key);
    expect(keys).toEqual(["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/*/rp_filter"]);
  });
});
