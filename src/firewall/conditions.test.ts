import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import { type Condition, mayFit, parseConditions } from "./conditions.ts";

const show = (conditions: readonly Condition[]): string[] =>
  conditions.map(
    (c) => `${c.on} ${c.not ? "not " : ""}${c.in.map((v) => (typeof v === "string" ? v : v.text)).join("|")}`,
  );
const read = (words: readonly string[], family: 4 | 6 = 4): string[] | string => {
  const parsed = parseConditions(words, family);
  return parsed.ok ? show(parsed.value) : parsed.why;
};

describe("conditions in words of nft", () => {
  test.each<[readonly string[], string[]]>([
    [["ip", "saddr", "192.0.2.0/24"], ["saddr 192.0.2.0/24"]],
    [["ip daddr != 192.0.2.1"], ["daddr not 192.0.2.1/32"]],
    [
      ["ip", "saddr", "ne", "192.0.2.0/24", "ip", "daddr", "eq", "10.0.0.1"],
      ["saddr not 192.0.2.0/24", "daddr 10.0.0.1/32"],
    ],
    [["ip", "saddr", "{", "10.0.0.0/8,", "192.0.2.1", "}"], ["saddr 10.0.0.0/8|192.0.2.1/32"]],
    [["ip saddr != {10.0.0.0/8,192.0.2.1}"], ["saddr not 10.0.0.0/8|192.0.2.1/32"]],
    [["iifname", '"eth0"'], ["iifname eth0"]],
    [["meta iifname != { eth0, eth1 }"], ["iifname not eth0|eth1"]],
    [[], []],
  ])("%j are read", (words, conditions) => {
    expect(read(words)).toEqual(conditions);
  });
  test("of IPv6 speak of ip6", () => {
    expect(read(["ip6 saddr fd00::/8"], 6)).toEqual(["saddr fd00::/8"]);
    expect(read(["ip saddr 192.0.2.1"], 6)).toContain('"ip" is not understood; known are ip6 saddr');
  });
  test.each<[readonly string[], string]>([
    [["tcp", "dport", "80"], '"tcp" is not understood'],
    [["ip", "protocol", "tcp"], '"ip protocol" is not understood'],
    [["ip", "saddr"], "ip saddr has no value"],
    [["ip", "saddr", "!="], "ip saddr has no value"],
    [["ip", "saddr", "{", "10.0.0.1"], "ip saddr has no value"],
    [["ip", "saddr", "{}"], "ip saddr has no value"],
    [["ip", "saddr", "localhost"], "localhost"],
    [["ip", "saddr", "10.0.0.0/33"], "10.0.0.0/33"],
    [["ip", "saddr", "fd00::1"], "fd00::1 is no address of ip"],
    [["iifname", "eth*"], '"eth*" is a pattern'],
    [["iifname", "a/b"], "a/b"],
    [["meta", "mark", "1"], '"meta mark" is not understood'],
    [["ip saddr 10.0.0.1 accept"], '"accept" is not understood'],
    [["ip saddr 10.0.0.1; flush ruleset"], "10.0.0.1;"],
  ])("%j are refused: %s", (words, why) => {
    expect(read(words)).toContain(why);
  });
  test("whose lists have too many combinations are refused, and negated lists have one", () => {
    const addresses = Array.from({ length: 9 }, (_, i) => `10.0.0.${i}`).join(",");
    const links = Array.from({ length: 8 }, (_, i) => `eth${i}`).join(",");
    expect(read([`ip saddr {${addresses}} iifname {${links}}`])).toContain("72 combinations; at most 64");
    expect(read([`ip saddr != {${addresses}} iifname {${links}}`])).toHaveLength(2);
  });
});

describe("mayFit", () => {
  const flow = { source: ip("192.0.2.2"), destination: ip("10.0.0.1") };
  test.each([
    ["ip saddr 192.0.2.0/24", true],
    ["ip saddr != 192.0.2.0/24", false],
    ["ip daddr { 10.0.0.2, 10.0.0.1 }", true],
    ["ip saddr 192.0.2.2 ip daddr 10.0.0.2", false],
    ["iifname eth0", true],
  ])("of a flow from 192.0.2.2 to 10.0.0.1 and %s is %p", (words, fits) => {
    const parsed = parseConditions([words], 4);
    expect(parsed.ok && mayFit(parsed.value, flow)).toBe(fits);
  });
});
