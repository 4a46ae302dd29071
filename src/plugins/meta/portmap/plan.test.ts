import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { Facts } from "../../../netstate/facts.ts";
import { confOf, inputOf, linkFact, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { mappingsOf, needs, plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const tcp = (hostPort: number, containerPort: number, hostIP?: string): Json => ({
  hostPort,
  containerPort,
  protocol: "tcp",
  ...(hostIP === undefined ? {} : { hostIP }),
});
const configOf = (mappings: readonly Json[], raw: object = {}) =>
  parseConfig(confOf("portmap", { ...raw, runtimeConfig: { portMappings: mappings } }));

const previous = {
  interfaces: [{ name: "br0" }, { name: "veth1" }, { name: "eth0", sandbox: "/run/netns/c" }],
  ips: [
    { address: "10.1.2.3/24", interface: 2 },
    { address: "10.1.2.4/24", interface: 2 },
    { address: "fd00::3/64", interface: 2 },
  ],
};
const of = (mappings: readonly Json[], raw: object = {}, prev: Json = previous) =>
  inputOf(configOf(mappings, raw), undefined, prev);
const leads = (mappings: readonly Json[], raw: object = {}, prev: Json = previous) =>
  mappingsOf(of(mappings, raw, prev)).map(
    (m) =>
      `${m.protocol} ${m.hostIp?.text ?? "*"}:${m.hostPort} -> ${m.target.text}:${m.targetPort} ${m.masquerade}`,
  );
const fieldOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (e) {
    if (isNetError(e, "config/invalid") || isNetError(e, "config/unsupported")) return e.detail.field;
    throw e;
  }
};

describe("the configuration of portmap", () => {
  test("is nftables with masquerading of what is local, unless it says otherwise", () => {
    expect(configOf([])).toEqual({
      backend: "nftables",
      masquerade: "local",
      iptables: {},
      conditions: {},
      mappings: [],
    });
    expect(configOf([], { masqAll: true }).masquerade).toBe("all");
    expect(configOf([], { snat: false, masqAll: true }).masquerade).toBe("none");
  });
  test("is iptables where it uses what only iptables has", () => {
    expect(configOf([], { markMasqBit: 5 })).toMatchObject({
      backend: "iptables",
      iptables: { markMasqBit: 5 },
    });
    expect(configOf([], { externalSetMarkChain: "KUBE-MARK-MASQ" }).backend).toBe("iptables");
    expect(configOf([], { conditionsV4: ["!", "-d", "192.0.2.0/24"] }).backend).toBe("iptables");
  });
  test("has conditions in words of nft, of each family, or leaves those of iptables as they are", () => {
    const four = { conditionsV4: ["ip", "saddr", "!=", "192.0.2.0/24"] };
    expect(configOf([], four)).toMatchObject({
      backend: "nftables",
      conditions: { 4: [{ on: "saddr", not: true }] },
      iptables: {},
    });
    expect(Object.keys(configOf([], { ...four, conditionsV6: [] }).conditions)).toEqual(["4"]);
    const six = { conditionsV6: ["-s", "fd00::/8"], backend: "iptables" };
    expect(configOf([], six)).toMatchObject({
      conditions: {},
      iptables: { conditionsV6: ["-s", "fd00::/8"] },
    });
    const rules = mappingsOf(of([tcp(80, 80)], four));
    expect(rules.map((r) => r.conditions?.length)).toEqual([1, undefined]);
  });
  const at = "runtimeConfig.portMappings[0]";
  test.each([
    [`${at}.hostPort`, [tcp(0, 80)], {}],
    [`${at}.hostPort`, [tcp(65536, 80)], {}],
    [`${at}.containerPort`, [tcp(80, -1)], {}],
    [`${at}.protocol`, [{ ...tcp(80, 80), protocol: "icmp" }], {}],
    [`${at}.hostIP`, [tcp(80, 80, "localhost")], {}],
    [`${at}.hostIP`, [tcp(80, 80, "::1")], {}],
    ["runtimeConfig.portMappings[1]", [tcp(80, 80), tcp(80, 81, "192.0.2.1")], {}],
    ["markMasqBit", [], { markMasqBit: 32 }],
    ["markMasqBit", [], { markMasqBit: 3, externalSetMarkChain: "X" }],
    ["markMasqBit", [], { markMasqBit: 3, backend: "nftables" }],
    ["conditionsV6", [], { conditionsV6: ["ip6", "daddr", "::1"], backend: "iptables" }],
    ["conditionsV6", [], { conditionsV6: ["ip", "daddr", "192.0.2.1"] }],
    ["conditionsV4", [], { conditionsV4: ["tcp", "flags", "syn"] }],
    ["conditionsV4", [], { conditionsV4: ["-s", "192.0.2.1"], backend: "nftables" }],
    ["conditionsV4", [], { conditionsV4: ["ip saddr 192.0.2.1"], conditionsV6: ["-s", "fd00::1"] }],
    ["conditionsV4", [], { conditionsV4: ["ip saddr 192.0.2.1"], markMasqBit: 3 }],
    ["backend", [], { backend: "ipfw" }],
  ] as const)("names the field %s of %j %j", (field, mappings, raw) => {
    expect(fieldOf(() => configOf(mappings, raw))).toBe(field);
  });
  test("takes protocols in any case, and one port by two protocols or two addresses", () => {
    const udp = { ...tcp(80, 80), protocol: "UDP" };
    expect(configOf([tcp(80, 80), udp]).mappings.map((m) => m.protocol)).toEqual(["tcp", "udp"]);
    expect(configOf([tcp(80, 80, "192.0.2.1"), tcp(80, 80, "192.0.2.2")]).mappings).toHaveLength(2);
  });
  test("that became invalid does not stop removal", () => {
    expect(parseForRemoval(confOf("portmap", { runtimeConfig: { portMappings: 7 } })).mappings).toEqual([]);
  });
});

describe("the plan of portmap", () => {
  test("leads each port to the first address of each family", () => {
    expect(leads([tcp(8080, 80)])).toEqual([
      "tcp *:8080 -> 10.1.2.3:80 local",
      "tcp *:8080 -> fd00::3:80 local",
    ]);
  });
  test("keeps to the family of the host's address", () => {
    expect(leads([tcp(8080, 80, "192.0.2.1")])).toEqual(["tcp 192.0.2.1:8080 -> 10.1.2.3:80 local"]);
    expect(leads([tcp(8080, 80, "0.0.0.0")])).toEqual(["tcp *:8080 -> 10.1.2.3:80 local"]);
    expect(leads([tcp(8080, 80, "::")])).toEqual(["tcp *:8080 -> fd00::3:80 local"]);
  });
  test("ignores addresses of other interfaces, and takes those that name none", () => {
    const others = {
      ...previous,
      ips: [{ address: "10.9.9.9/24", interface: 0 }, { address: "10.1.2.9/24" }],
    };
    expect(leads([tcp(80, 80)], {}, others)).toEqual(["tcp *:80 -> 10.1.2.9:80 local"]);
  });
  test("refuses mappings that have no address to lead to", () => {
    expect(() => leads([tcp(80, 80)], {}, { ...previous, ips: [] })).toThrow("no IP address");
    const loopback = [{ address: "127.0.0.1/8" }, { address: "::1/128" }];
    expect(() => leads([tcp(80, 80)], {}, { ...previous, ips: loopback })).toThrow("no IP address");
    const v4 = { ...previous, ips: previous.ips.slice(0, 1) };
    expect(fieldOf(() => leads([tcp(80, 80, "::")], {}, v4))).toBe("runtimeConfig.portMappings[0].hostIP");
  });
  test("opens the way from 127.0.0.1 only where a mapping needs it", () => {
    const route: Facts = {
      ...noFacts,
      routesTo: new Map([["10.1.2.3", linkFact("br0")]]),
    };
    const keys = (mappings: readonly Json[], raw: object = {}) =>
      objectsOf(plan(of(mappings, raw), route).state, "sysctl").map((s) => s.key);
    expect(keys([tcp(80, 80)])).toEqual(["net/ipv4/conf/br0/route_localnet"]);
    expect(keys([tcp(80, 80, "127.0.0.1")])).toEqual(["net/ipv4/conf/br0/route_localnet"]);
    expect(keys([tcp(80, 80, "192.0.2.1")])).toEqual([]);
    expect(keys([tcp(80, 80)], { snat: false })).toEqual([]);
    expect(needs(of([tcp(80, 80, "192.0.2.1")]))).toEqual({});
  });
  test("passes the previous result on, and needs one", () => {
    expect(plan(of([tcp(80, 80)]), noFacts).result.ips.map((ip) => ip.address.text)).toEqual([
      "10.1.2.3/24",
      "10.1.2.4/24",
      "fd00::3/64",
    ]);
    expect(() => plan(inputOf(configOf([tcp(80, 80)]), undefined), noFacts)).toThrow(
      "needs the result of the plugin before it",
    );
  });
});
