import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { Facts } from "../../../netstate/facts.ts";
import { confOf, fresh, inputOf, linkFact, noFacts } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const V4 = { ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1" }], routes: [{ dst: "0.0.0.0/0" }] };
const ipam = { type: "host-local" };

const configOf = (raw: object) => parseConfig(confOf("tap", { ...raw }));
const planOf = (raw: object, lease?: Readonly<Record<string, unknown>>, facts: Facts = noFacts) =>
  plan(inputOf(configOf(raw), lease), facts);
const fieldOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    throw e;
  }
};

describe("the configuration of tap", () => {
  test("has no key that must be given", () => {
    expect(configOf({})).toEqual({ multiQueue: false });
    expect(configOf({ mtu: 0, mac: "", selinuxContext: "", bridge: "", ipam: {} })).toEqual(configOf({}));
  });
  test("keeps user and group 0, which are root", () => {
    expect(configOf({ owner: 0, group: 0 })).toEqual({ multiQueue: false, owner: 0, group: 0 });
  });
  test.each([
    ["multiQueue", { multiQueue: "yes" }],
    ["mtu", { mtu: 67 }],
    ["mtu", { mtu: 65522 }],
    ["mtu", { mtu: "1500" }],
    ["mac", { mac: "02:00" }],
    ["mac", { mac: "01:00:00:00:00:00" }],
    ["mac", { mac: "00:00:00:00:00:00" }],
    ["owner", { owner: -1 }],
    ["owner", { owner: 4294967295 }],
    ["owner", { owner: "root" }],
    ["owner", { owner: 1.5 }],
    ["group", { group: -1 }],
    ["group", { group: 4294967295 }],
    ["group", { group: true }],
    ["selinuxContext", { selinuxContext: 7 }],
    ["bridge", { bridge: "a/b" }],
    ["bridge", { bridge: 7 }],
    ["ipam", { ipam: "host-local" }],
    ["dns", { dns: "10.0.0.53" }],
  ])("is refused by its key %s: %j", (field, raw) => {
    expect(fieldOf(() => configOf(raw))).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("tap", { mtu: 3, ipam }))).toEqual({
      multiQueue: false,
      ipam: "host-local",
    });
  });
});

describe("the plan of tap", () => {
  test("is a tap with what was asked for, up", () => {
    const { state, result } = planOf({ multiQueue: true, mtu: 1400, owner: 7, group: 8 });
    expect(state.objects).toEqual([
      {
        kind: "tap",
        possession: "exclusive",
        place: "container",
        name: "eth0",
        multiQueue: true,
        mac: fresh.containerMac,
        mtuBytes: 1400,
        owner: 7,
        group: 8,
      },
      { kind: "link-up", possession: "exclusive", place: "container", link: "eth0" },
    ]);
    expect(result.interfaces).toEqual([
      { name: "eth0", mac: fresh.containerMac, mtu: 1400, sandbox: "/run/netns/c" },
    ]);
  });
  test("gives the tap what IPAM gave, without looking for another owner", () => {
    const { state, result } = planOf({ ipam }, V4);
    expect(state.objects.map((o) => o.kind)).toEqual([
      "tap",
      "sysctl",
      "sysctl",
      "link-up",
      "address",
      "route",
    ]);
    expect(state.objects.find((o) => o.kind === "address")).toMatchObject({ dad: false });
    expect(result.ips.map((ip) => ip.interface)).toEqual([0]);
  });
  test("wants a bridge that is there, and is one", () => {
    const facts = (kind?: string): Facts => ({
      ...noFacts,
      links: new Map([["container br0", linkFact("br0", kind === undefined ? {} : { kind })]]),
    });
    expect(needs(inputOf(configOf({ bridge: "br0" }), undefined))).toEqual({
      links: [{ place: "container", name: "br0" }],
    });
    expect(planOf({ bridge: "br0" }, undefined, facts("bridge")).state.objects[0]).toMatchObject({
      bridge: "br0",
    });
    expect(fieldOf(() => planOf({ bridge: "br0" }, undefined, facts("veth")))).toBe("bridge");
    expect(fieldOf(() => planOf({ bridge: "br0" }))).toBe("bridge");
  });
  test("warns of a label only if there is one", () => {
    expect(planOf({ selinuxContext: "a:b:c:s0" }).warnings?.[0]).toContain("selinuxContext");
    expect(planOf({}).warnings).toEqual([]);
  });
});
