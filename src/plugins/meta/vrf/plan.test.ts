import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { Facts } from "../../../netstate/facts.ts";
import type { Address } from "../../../rtnl/address.ts";
import type { Link } from "../../../rtnl/link.ts";
import type { Route } from "../../../rtnl/route.ts";
import { ip } from "../../../testing/address.ts";
import { confOf, inputOf, linkFact, noFacts, objectsOf, prefixOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const configOf = (raw: Json) => parseConfig(confOf("vrf", raw));
const previous: Json = { interfaces: [{ name: "eth0", sandbox: "/run/netns/c" }], ips: [] };
const eth0 = linkFact("eth0", { index: 7 });
const vrfLink = (name: string, index: number, table: number): Link =>
  linkFact(name, { index, kind: "vrf", kindData: Uint8Array.of(8, 0, 1, 0, table & 255, table >> 8, 0, 0) });
const address = (text: string, more: Partial<Address> = {}): Address => ({
  index: 7,
  prefix: prefixOf(text),
  tentative: false,
  dadFailed: false,
  permanent: true,
  linkLocal: false,
  ...more,
});
const route = (dst: string, more: Partial<Route> = {}): Route => ({
  dst: prefixOf(dst),
  oif: 7,
  table: 254,
  scope: 0,
  type: 1,
  protocol: 3,
  ...more,
});
const factsOf = (link: Link, others: readonly Link[] = [], more: Partial<Facts> = {}): Facts => ({
  ...noFacts,
  links: new Map([["container eth0", link]]),
  linksOf: new Map([["container", [link, ...others]]]),
  ...more,
});
function memberIn(raw: Json, facts: Facts) {
  const { state } = plan(inputOf(configOf({ vrfname: "red", ...raw }), undefined, previous), facts);
  const [member, ...more] = objectsOf(state, "vrf-member");
  if (member === undefined || more.length > 0) throw new Error("not one member");
  return member;
}
const codeOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    if (isNetError(e, "resource/exists")) return e.detail.what;
    throw e;
  }
};

describe("the configuration of vrf", () => {
  test.each([
    ["vrfname", {}],
    ["vrfname", { vrfname: "" }],
    ["vrfname", { vrfname: "a/b" }],
    ["vrfname", { vrfname: "sixteen-bytes-xx" }],
    ["table", { vrfname: "red", table: -1 }],
    ["table", { vrfname: "red", table: 4294967296 }],
    ["table", { vrfname: "red", table: "5" }],
  ] as const)("names the field %s of %j", (field, raw) => {
    expect(codeOf(() => configOf(raw))).toBe(field);
  });
  test("takes a table of 0 for none", () => {
    expect(configOf({ vrfname: "red", table: 0 })).toEqual(configOf({ vrfname: "red" }));
  });
  test("that became invalid does not stop removal", () => {
    expect(parseForRemoval(confOf("vrf", { vrfname: 7 }))).toBeUndefined();
    expect(parseForRemoval(confOf("vrf", { vrfname: "red", table: "x" }))).toBeUndefined();
  });
});

describe("the table of a new VRF", () => {
  const red = (used: readonly number[]): number =>
    memberIn(
      {},
      factsOf(
        eth0,
        used.map((table, i) => vrfLink(`v${table}`, 20 + i, table)),
      ),
    ).vrf.table;
  test("is the first that is free", () => {
    expect(red([])).toBe(1);
    expect(red([1, 2, 4])).toBe(3);
    expect(red([5])).toBe(1);
    expect(red(Array.from({ length: 999 }, (_, i) => i + 1))).toBe(1000);
  });
  test("has nothing to do with links of other kinds", () => {
    const alike = { ...vrfLink("br0", 20, 1), kind: "bridge" };
    expect(memberIn({}, factsOf(eth0, [alike])).vrf.table).toBe(1);
  });
  test("is none of those that routes and rules name, nor one of the kernel's", () => {
    const routes = Array.from({ length: 252 }, (_, i) => route("10.0.0.0/8", { oif: 9, table: i + 1 }));
    const more = { routes: new Map([["container", routes]] as const) };
    expect(memberIn({}, factsOf(eth0, [], more)).vrf.table).toBe(256);
    const rules = new Map([["container", [{ family: 4, priority: 5, table: 1 }]]] as const);
    expect(memberIn({}, factsOf(eth0, [], { rules })).vrf.table).toBe(2);
  });
  test("is the one that is asked for, also if another VRF has it", () => {
    expect(memberIn({ table: 9 }, factsOf(eth0, [vrfLink("blue", 20, 9)])).vrf).toEqual({
      name: "red",
      table: 9,
    });
  });
  test("of a VRF that is there is kept, and must not be asked for otherwise", () => {
    const facts = factsOf(eth0, [vrfLink("red", 20, 9)]);
    expect(memberIn({}, facts).vrf.table).toBe(9);
    expect(memberIn({ table: 9 }, facts).vrf.table).toBe(9);
    expect(codeOf(() => memberIn({ table: 8 }, facts))).toBe("a VRF red with the table 9, not 8,");
  });
});

describe("the plan of vrf", () => {
  test("takes along global IPv6 addresses, with what they are", () => {
    const addresses = [
      address("10.1.0.5/24"),
      address("fe80::1/64", { linkLocal: true }),
      address("fd01::5/64"),
      address("fd02::5/64", { tentative: true, noPrefixRoute: true }),
      address("fd03::5/64", { permanent: false }),
    ];
    const member = memberIn({}, factsOf(eth0, [], { addresses: new Map([["container eth0", addresses]]) }));
    expect(member.addresses).toEqual([
      { address: prefixOf("fd01::5/64"), dad: false, connectedRoute: true },
      { address: prefixOf("fd02::5/64"), dad: true, connectedRoute: false },
    ]);
  });
  test("takes along the link's routes but those that the kernel makes by itself", () => {
    const routes = [
      route("10.1.0.0/24", { protocol: 2 }),
      route("fe80::/64", { protocol: 2 }),
      route("::/0", { protocol: 9 }),
      route("10.1.0.5/32", { table: 255 }),
      route("10.9.0.0/16", { oif: 9 }),
      route("10.7.0.0/16"),
      route("0.0.0.0/0", { gateway: ip("10.1.0.1") }),
      route("10.8.0.0/16", { table: 100 }),
    ];
    const member = memberIn({}, factsOf(eth0, [], { routes: new Map([["container", routes]]) }));
    expect(member.routes.map((r) => [r.dst.text, r.table])).toEqual([
      ["10.7.0.0/16", 254],
      ["0.0.0.0/0", 254],
      ["10.8.0.0/16", 100],
    ]);
  });
  test("of an interface that is in the VRF already speaks of the routes as they are outside", () => {
    const routes = [route("10.7.0.0/16", { table: 9 }), route("10.8.0.0/16", { table: 100 })];
    const inside = linkFact("eth0", { index: 7, master: 20 });
    const facts = factsOf(inside, [vrfLink("red", 20, 9)], { routes: new Map([["container", routes]]) });
    expect(memberIn({}, facts).routes.map((r) => r.table)).toEqual([254, 100]);
  });
  test("refuses another master, another link of the VRF's name, and the interface itself", () => {
    const bridged = linkFact("eth0", { index: 7, master: 30 });
    const bridge = linkFact("br0", { index: 30, kind: "bridge" });
    expect(codeOf(() => memberIn({}, factsOf(bridged, [bridge])))).toBe("a master of eth0, br0,");
    expect(codeOf(() => memberIn({ vrfname: "br0" }, factsOf(eth0, [bridge])))).toBe(
      "a link br0 of kind bridge",
    );
    expect(codeOf(() => memberIn({ vrfname: "eth0" }, factsOf(eth0)))).toBe("vrfname");
  });
  test("needs the interface, and the result of the plugin before it, which it passes on", () => {
    expect(() => memberIn({}, noFacts)).toThrow("no interface eth0");
    const config = configOf({ vrfname: "red" });
    expect(() => plan(inputOf(config, undefined), factsOf(eth0))).toThrow("needs the result");
    expect(plan(inputOf(config, undefined, previous), factsOf(eth0)).result.interfaces).toEqual([
      { name: "eth0", sandbox: "/run/netns/c" },
    ]);
  });
});

test("a loopback is refused by name, before the kernel refuses it", () => {
  const lo = linkFact("eth0", { loopback: true });
  expect(() => memberIn({}, factsOf(lo))).toThrow("eth0 is a loopback, which the kernel lets into no VRF");
});
