import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { Facts } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import type { Route } from "../../../rtnl/route.ts";
import { ip } from "../../../testing/address.ts";
import { confOf, inputOf, linkFact, noFacts, prefixOf } from "../../../testing/plan.ts";
import { parseConfig } from "./config.ts";
import { needs, plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const configOf = (raw: Json) => parseConfig(confOf("sbr", raw));
const eth0 = linkFact("eth0", { index: 7 });

/** `10.0.0.0/8 via 10.1.0.1 src … metric … table …`, over eth0 unless it says `dev other`. */
function route(text: string): Route {
  const [dst = "", ...words] = text.split(" ");
  const after = (word: string): string | undefined =>
    words.includes(word) ? words[words.indexOf(word) + 1] : undefined;
  const [via, src, metric, table] = ["via", "src", "metric", "table"].map(after);
  return {
    dst: prefixOf(dst),
    oif: after("dev") === "other" ? 9 : 7,
    ...(via ? { gateway: ip(via) } : {}),
    ...(src ? { src: ip(src) } : {}),
    ...(metric ? { priority: Number(metric) } : {}),
    table: table ? Number(table) : 254,
    scope: via || dst.includes(":") ? 0 : 253,
    type: 1,
    protocol: 2,
  };
}
const factsOf = (routes: readonly string[], more: Partial<Facts> = {}): Facts => ({
  ...noFacts,
  links: new Map([["container eth0", eth0]]),
  routes: new Map([["container", routes.map(route)]]),
  ...more,
});
const previous = (...addresses: readonly (readonly [string, string?])[]): Json => ({
  interfaces: [{ name: "veth0" }, { name: "eth0", sandbox: "/run/netns/c" }],
  ips: addresses.map(([address, gateway]) => ({ address, interface: 1, ...(gateway ? { gateway } : {}) })),
});

/** An object as `ip` would write it. */
function show(o: NetObject): string {
  const words = (r: Partial<Route>): string =>
    [r.gateway && `via ${r.gateway.text}`, r.src && `src ${r.src.text}`, r.priority && `metric ${r.priority}`]
      .filter(Boolean)
      .join(" ");
  if (o.kind === "rule") return `rule ${o.rule.priority} from ${o.rule.src?.text} to ${o.rule.table}`;
  if (o.kind === "route") return `${o.table ?? "main"}: ${o.dst.text} ${words(o)}`.trim();
  if (o.kind === "taken-route") return `take ${o.route.dst.text} ${words(o.route)}`.trim();
  return o.kind;
}
const shown = (raw: Json, prev: Json, facts: Facts): readonly string[] =>
  plan(inputOf(configOf(raw), undefined, prev), facts).state.objects.map(show);
const fieldOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    throw e;
  }
};

const V4 = ["10.1.0.0/24 src 10.1.0.5", "0.0.0.0/0 via 10.1.0.1"];
const V6 = ["fd01::/64 metric 256", "fe80::/64 metric 256", "::/0 via fd01::1 metric 1024"];

describe("the configuration of sbr", () => {
  test.each([
    ["table", { table: 0 }],
    ["table", { table: 4294967296 }],
    ["table", { table: "100" }],
    ["gateways", { gateways: "10.1.0.1" }],
    ["gateways[0]", { gateways: ["gateway"] }],
    ["gateways[0]", { gateways: ["0.0.0.0"] }],
    ["gateways[1]", { gateways: ["10.1.0.1", "10.1.0.2"] }],
    ["gateways[2]", { gateways: ["10.1.0.1", "fd01::1", "fd01::2"] }],
    ["addSourceHints", { addSourceHints: "yes" }],
  ] as const)("names the field %s of %j", (field, raw) => {
    expect(fieldOf(() => configOf(raw))).toBe(field);
  });
});

describe("the plan of sbr", () => {
  test("moves the interface's routes into the first free table", () => {
    expect(shown({}, previous(["10.1.0.5/24", "10.1.0.1"]), factsOf(V4))).toEqual([
      "rule 32000 from 10.1.0.5/32 to 100",
      "100: 10.1.0.0/24 src 10.1.0.5",
      "100: 0.0.0.0/0 via 10.1.0.1",
      "take 0.0.0.0/0 via 10.1.0.1",
      "take 10.1.0.0/24 src 10.1.0.5",
    ]);
  });
  test("gives each address of both families a table, and leaves link-local routes alone", () => {
    const prev = previous(["10.1.0.5/24", "10.1.0.1"], ["fd01::5/64", "fd01::1"]);
    const taken = shown({}, prev, factsOf([...V4, ...V6]));
    expect(taken.filter((line) => !line.startsWith("take"))).toEqual([
      "rule 32000 from 10.1.0.5/32 to 100",
      "100: 10.1.0.0/24 src 10.1.0.5",
      "100: 0.0.0.0/0 via 10.1.0.1",
      "rule 32000 from fd01::5/128 to 101",
      "101: fd01::/64 metric 256",
      "101: ::/0 via fd01::1 metric 1024",
    ]);
    expect(taken.join("\n")).not.toContain("fe80");
  });
  test("splits the routes of two subnets, and copies those that speak of neither into both tables", () => {
    const prev = previous(["10.1.0.5/24", "10.1.0.1"], ["10.2.0.5/24"]);
    const routes = [...V4, "10.2.0.0/24 src 10.2.0.5", "10.7.0.0/16", "10.8.0.0/16 via 10.2.0.9"];
    const objects = shown({}, prev, factsOf(routes));
    expect(objects.filter((l) => l.startsWith("100:"))).toEqual([
      "100: 10.1.0.0/24 src 10.1.0.5",
      "100: 10.7.0.0/16",
      "100: 0.0.0.0/0 via 10.1.0.1",
    ]);
    expect(objects.filter((l) => l.startsWith("101:"))).toEqual([
      "101: 10.2.0.0/24 src 10.2.0.5",
      "101: 10.7.0.0/16",
      "101: 10.8.0.0/16 via 10.2.0.9",
    ]);
    expect(objects.filter((l) => l.startsWith("take"))).toHaveLength(5);
  });
  test("makes a default route by the gateway where the main table has none", () => {
    const objects = shown({}, previous(["10.1.0.5/24", "10.1.0.1"]), factsOf(V4.slice(0, 1)));
    expect(objects).toContain("100: 0.0.0.0/0 via 10.1.0.1");
    expect(objects.filter((l) => l.startsWith("take"))).toEqual(["take 10.1.0.0/24 src 10.1.0.5"]);
  });
  test("takes the configured gateway of each family in place of every other way out", () => {
    const prev = previous(["10.1.0.5/24", "10.1.0.1"], ["fd01::5/64", "fd01::1"]);
    const gateways = ["10.1.0.77", "fd01::77"];
    const ways = shown({ gateways }, prev, factsOf([...V4, ...V6])).filter((l) => /^1.*\/0 /.test(l));
    expect(ways).toEqual(["100: 0.0.0.0/0 via 10.1.0.77", "101: ::/0 via fd01::77"]);
  });
  test("keeps routes without a gateway in the main table with addSourceHints, and names the source", () => {
    const prev = previous(["10.1.0.5/24", "10.1.0.1"], ["fd01::5/64", "fd01::1"]);
    const objects = shown({ addSourceHints: true }, prev, factsOf([...V4, ...V6]));
    expect(objects.filter((l) => /^(?:take|main|254)/.test(l))).toEqual([
      "254: fd01::/64 src fd01::5 metric 255",
      "take ::/0 via fd01::1 metric 1024",
      "take 0.0.0.0/0 via 10.1.0.1",
    ]);
  });
  test("only makes rules for a table that is named", () => {
    const prev = previous(["10.1.0.5/24", "10.1.0.1"], ["fd01::5/64"]);
    expect(shown({ table: 300, gateways: ["10.1.0.9"] }, prev, factsOf([...V4, ...V6]))).toEqual([
      "rule 32000 from 10.1.0.5/32 to 300",
      "rule 32000 from fd01::5/128 to 300",
    ]);
  });
  test("uses no table that a route, a rule or a VRF has", () => {
    const rule = { family: 4, priority: 5, table: 101 } as const;
    const vrf = linkFact("red", { kind: "vrf", kindData: Uint8Array.of(8, 0, 1, 0, 102, 0, 0, 0) });
    const facts = factsOf([...V4, "10.9.0.0/16 dev other table 100"], {
      rules: new Map([["container", [rule]]]),
      linksOf: new Map([["container", [eth0, vrf]]]),
    });
    expect(shown({}, previous(["10.1.0.5/24"]), facts)[0]).toBe("rule 32000 from 10.1.0.5/32 to 103");
  });
  test("finds the table of an address that has a rule, so that CHECK works without a record", () => {
    const src = prefixOf("10.1.0.5/32");
    const rule = { family: 4, priority: 32765, table: 100, src } as const;
    const facts = factsOf([], { rules: new Map([["container", [rule]]]) });
    expect(shown({}, previous(["10.1.0.5/24", "10.1.0.1"]), facts)).toEqual([
      "rule 32765 from 10.1.0.5/32 to 100",
      "100: 0.0.0.0/0 via 10.1.0.1",
    ]);
    const named = (table: number) => shown({ table }, previous(["10.1.0.5/24"]), facts);
    expect([...named(100), ...named(200)]).toEqual([
      "rule 32765 from 10.1.0.5/32 to 100",
      "rule 32000 from 10.1.0.5/32 to 200",
    ]);
  });
  test("touches no route of another interface or of another table", () => {
    const facts = factsOf(["10.9.0.0/16 dev other", "10.8.0.0/16 table 50"]);
    expect(shown({}, previous(["10.1.0.5/24"]), facts)).toEqual(["rule 32000 from 10.1.0.5/32 to 100"]);
  });
  test("ignores addresses of other interfaces, and needs one of its own", () => {
    const prev = { ...previous(), ips: [{ address: "10.9.9.9/24", interface: 0 }] };
    expect(() => shown({}, prev, factsOf(V4))).toThrow("no IP address");
    expect(() => shown({}, previous(["10.1.0.5/24"]), noFacts)).toThrow("no interface eth0");
    expect(() => plan(inputOf(configOf({}), undefined), factsOf(V4))).toThrow("needs the result");
  });
  test("asks for routes, rules and links of the container alone", () => {
    expect(needs(inputOf(configOf({}), undefined))).toEqual({
      links: [{ place: "container", name: "eth0" }],
      routing: "container",
      linksOf: "container",
    });
  });
});
