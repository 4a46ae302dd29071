import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { ForwardKeeper } from "../../../firewall/forward-keeper.ts";
import { confOf, inputOf, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const configOf = (raw: Json = {}) => parseConfig(confOf("firewall", raw));
const previous = {
  interfaces: [
    { name: "br0" },
    { name: "veth1" },
    { name: "eth0", sandbox: "/run/netns/c" },
    { name: "bwp0123456789a" },
  ],
  ips: [
    { address: "10.1.2.3/24", interface: 2 },
    { address: "fd00::3/64", interface: 2 },
  ],
};
const statesOf = (raw: Json, keeper?: ForwardKeeper, prev: Json = previous) =>
  objectsOf(
    plan(inputOf(configOf(raw), undefined, prev), {
      ...noFacts,
      ...(keeper ? { forwardKeeper: keeper } : {}),
    }).state,
    "firewall",
  ).map(({ state }) => ({
    ...state,
    rules: state.rules.map((r) => {
      if (r.kind === "accept-forward") return `accept ${r.address.text}`;
      if (r.kind === "ingress-policy")
        return `${r.isolated ? "isolate" : "police"} ${r.address.text} on ${r.bridge}`;
      return r.kind === "port-isolation" ? `port ${r.link}` : r.kind;
    }),
  }));
const accepts = ["accept 10.1.2.3", "accept fd00::3"];
const of = { network: "net", containerId: "c" };

describe("the configuration of firewall", () => {
  test("is open and chooses its backend by the host", () => {
    expect(configOf()).toEqual({ ingressPolicy: "open" });
    expect(
      configOf({ backend: "", ingressPolicy: "", iptablesAdminChainName: "", firewalldZone: "" }),
    ).toEqual({ ingressPolicy: "open" });
    expect(needs(inputOf(configOf(), undefined, previous))).toEqual({ forwardKeeper: true });
    expect(needs(inputOf(configOf({ backend: "iptables" }), undefined, previous))).toEqual({});
  });
  test.each([
    ["backend", "ipfw"],
    ["backend", 1],
    ["ingressPolicy", "closed"],
    ["ingressPolicy", true],
    ["firewalldZone", 7],
    ["iptablesAdminChainName", "a".repeat(29)],
    ["iptablesAdminChainName", "two words"],
    ["iptablesAdminChainName", "-X"],
    ["iptablesAdminChainName", "!X"],
    ["iptablesAdminChainName", "CNI-FORWARD"],
    ["iptablesAdminChainName", "ACCEPT"],
    ["iptablesAdminChainName", "a\nCOMMIT"],
  ])("names %s when it is %j", (field, value) => {
    let said: unknown;
    try {
      configOf({ [field]: value });
    } catch (e) {
      said = isNetError(e, "config/invalid") ? e.detail.field : e;
    }
    expect(said).toBe(field);
    expect(parseForRemoval(confOf("firewall", { [field]: value }))).toEqual({ ingressPolicy: "open" });
  });
});

describe("the plan of firewall", () => {
  test("allows where the host drops, and nothing where nobody does", () => {
    expect(statesOf({}, "iptables")).toEqual([{ ...of, backend: "iptables", rules: accepts }]);
    expect(statesOf({}, "firewalld")).toEqual([{ ...of, backend: "firewalld", rules: accepts }]);
    expect(statesOf({}, "nobody")).toEqual([]);
    expect(statesOf({ backend: "nftables" })).toEqual([]);
  });
  test("goes by the configuration if it names a backend", () => {
    const admin = { backend: "iptables", iptablesAdminChainName: "MINE" };
    expect(statesOf(admin, "firewalld")).toEqual([
      { ...of, backend: "iptables", rules: accepts, iptables: { adminChain: "MINE" } },
    ]);
    expect(statesOf({ backend: "firewalld", firewalldZone: "work" }, "nobody")).toEqual([
      { ...of, backend: "firewalld", rules: accepts, firewalldZone: "work" },
    ]);
  });
  test("puts policies where they work: firewalld has none, and iptables sees no frames", () => {
    const policies = ["isolate 10.1.2.3 on br0", "isolate fd00::3 on br0"];
    const isolated = { ingressPolicy: "isolated" };
    expect(statesOf(isolated, "nobody")).toEqual([
      { ...of, backend: "nftables", rules: [...policies, "port veth1"] },
    ]);
    expect(statesOf(isolated, "iptables")).toEqual([
      { ...of, backend: "iptables", rules: [...accepts, ...policies] },
      { ...of, backend: "nftables", rules: ["port veth1"] },
    ]);
    expect(statesOf(isolated, "firewalld")).toEqual([
      { ...of, backend: "firewalld", rules: accepts },
      { ...of, backend: "nftables", rules: [...policies, "port veth1"] },
    ]);
    expect(statesOf({ ingressPolicy: "same-bridge" }, "nobody")).toEqual([
      { ...of, backend: "nftables", rules: ["police 10.1.2.3 on br0", "police fd00::3 on br0"] },
    ]);
  });
  test("polices the only link of the host there is, which has no port", () => {
    const ptp = {
      interfaces: [{ name: "veth1" }, { name: "eth0", sandbox: "/run/netns/c" }, { name: "bwp1" }],
      ips: [{ address: "10.1.2.3/24", interface: 1 }],
    };
    expect(statesOf({ ingressPolicy: "isolated" }, "nobody", ptp)).toEqual([
      { ...of, backend: "nftables", rules: ["isolate 10.1.2.3 on veth1"] },
    ]);
  });
  test("polices the host's interface in a VLAN of the bridge, by which it routes, and the port beside it", () => {
    const names = (...behind: readonly string[]) => ({
      ...previous,
      interfaces: [...previous.interfaces.slice(0, 3), ...behind.map((name) => ({ name }))],
    });
    const link = (prev: Json) => statesOf({ ingressPolicy: "isolated" }, "nobody", prev)[0]?.rules;
    const on = (name: string) => [`isolate 10.1.2.3 on ${name}`, `isolate fd00::3 on ${name}`, "port veth1"];
    expect(link(names("bwp0123456789a", "br0.100"))).toEqual(on("br0.100"));
    for (const other of ["br0.", "br0.0", "br0.4095", "br0.1e2", "br0.07", "br0.1.2", "br1.100"])
      expect(link(names(other))).toEqual(on("br0"));
  });
  test("refuses a policy behind a plugin that makes no link of the host", () => {
    const macvlan = { interfaces: [{ name: "eth0", sandbox: "/run/netns/c" }], ips: [] };
    expect(() => statesOf({ ingressPolicy: "same-bridge" }, "nobody", macvlan)).toThrow("link of the host");
    expect(statesOf({}, "iptables", macvlan)).toEqual([]);
  });
  test("takes addresses inside of containers, and those that name no interface", () => {
    const ips = [{ address: "10.1.2.1/24", interface: 0 }, { address: "10.1.2.9/24" }];
    expect(statesOf({}, "iptables", { ...previous, ips })[0]?.rules).toEqual(["accept 10.1.2.9"]);
  });
  test("passes the previous result on, and needs one", () => {
    const { result } = plan(inputOf(configOf(), undefined, previous), noFacts);
    expect(result.interfaces.map((i) => i.name)).toEqual(["br0", "veth1", "eth0", "bwp0123456789a"]);
    expect(() => plan(inputOf(configOf(), undefined), noFacts)).toThrow("result of the plugin before it");
  });
});
