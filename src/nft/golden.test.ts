import { describe, expect, test } from "bun:test";
import { readGolden } from "../testing/golden.ts";
import { chainOf, constructs, constructSets } from "../testing/nft-constructs.ts";
import {
  chainAttrs,
  elementsAttrs,
  NFT_MSG,
  nfgenmsg,
  ruleAttrs,
  setAttrs,
  SUBSYSTEM,
  tableAttrs,
} from "./attrs.ts";
import { addChain, addElements, addRule, addSet, addTable } from "./batch.ts";
import { decodeKey, encodeKey, type Scalar } from "./data-types.ts";
import { decodeExpr, encodeExpr, type Expr } from "./expr.ts";
import type { Element } from "./model.ts";
import { registerNumber, registerWord } from "./registers.ts";
import { rule, type Statement } from "./statement.ts";
import { decodeComment, decodeUdata, encodeComment, encodeUdata } from "./udata.ts";
import { cidr as prefix } from "../testing/address.ts";
import { ip } from "../testing/address.ts";

const attributes = (b: Uint8Array): Uint8Array => b.subarray(nfgenmsg.size);
const captures = (file: string) => readGolden(new URL(`golden/${file}`, import.meta.url));

describe("a rule as the kernel shows it", () => {
  const rules = captures("rules.txt");
  test.each(constructs.map((c) => [`${c.family}: ${c.text}`, c] as const))(
    "is what we compile: %s",
    (_, c) => {
      const command = `nft add rule ${c.family} t ${chainOf(c.text).name} '${c.text} comment "why"'`;
      const capture = rules.find((r) => r.command === command);
      const shown = ruleAttrs.decode(attributes(capture?.bytes ?? new Uint8Array(0)));
      const compiled = rule(c.family, c.statements, "why");
      expect(shown.expressions?.map(decodeExpr)).toEqual([...compiled.expressions]);
      const sent = ruleAttrs.decode(
        attributes(addRule({ family: c.family, table: "t" }, "x", compiled).body),
      );
      expect(sent.userdata).toEqual(shown.userdata ?? new Uint8Array(0));
      expect(sent.expressions?.map(decodeExpr)).toEqual([...compiled.expressions]);
    },
  );

  test("has a capture for every construct and no other", () => {
    expect(rules).toHaveLength(constructs.length);
  });
});

describe("a set as the kernel shows it", () => {
  const sets = captures("sets.txt");
  test.each(constructSets.map((s) => [s.type, s] as const))("is what we send: %s", (type, { set }) => {
    const capture = sets.find((c) => c.command.endsWith(` ${set.name} '{ type ${type}; }'`));
    const {
      handle: _handle,
      unknown: _unknown,
      ...shown
    } = setAttrs.decode(attributes(capture?.bytes ?? new Uint8Array(0)));
    const { id, ...sent } = setAttrs.decode(attributes(addSet({ family: "inet", table: "t" }, set).body));
    expect(id).toBeGreaterThan(0);
    // A set without flags is shown without the attribute.
    const all: object = { ...shown, flags: shown.flags ?? 0 };
    expect(all).toEqual(sent);
  });
});

describe("an object as the kernel shows it", () => {
  const objects = captures("objects.txt");
  const shown = (part: string): Uint8Array =>
    attributes(objects.find((c) => c.command.includes(part))?.bytes ?? new Uint8Array(0));
  const table = { family: "inet", table: "t" } as const;

  test("is what we send: a table with a comment", () => {
    const { name, flags, userdata } = tableAttrs.decode(shown("add table"));
    const sent: object = tableAttrs.decode(attributes(addTable(table, "why").body));
    expect(sent).toEqual({ name, flags, userdata });
  });

  test("is what we send: a base chain with a negative priority", () => {
    const { handle: _handle, flags: _flags, use: _use, ...chain } = chainAttrs.decode(shown("add chain"));
    const base = { type: "nat", hook: "postrouting", priority: -5, policy: "drop" } as const;
    const sent: object = chainAttrs.decode(attributes(addChain(table, { name: "c", base }).body));
    expect(sent).toEqual(chain);
  });

  const [four, six] = [ip("10.1.2.3"), ip("fd00::3")];
  test.each<[string, Element]>([
    ["addresses4", { key: [four], comment: "who" }],
    ["verdicts4", { key: [four], comment: "who", data: { goto: "other" } }],
    ["hostip_ports6", { key: [six, 17, 53], comment: "who", data: [six, 53] }],
  ])("is what we send: an element of %s", (name, element) => {
    const set = constructSets.find((c) => c.set.name === name)?.set ?? { name, key: [] };
    expect(elementsAttrs.decode(attributes(addElements(table, set, [element]).body))).toEqual(
      elementsAttrs.decode(shown(` ${name} `)),
    );
  });
});

describe("an expression", () => {
  const plain: Expr[] = [
    { kind: "lookup", set: "s", from: 4, into: 0 },
    { kind: "nat", type: "snat", family: "ip6", address: 0 },
    { kind: "masq", random: "fully" },
    { kind: "meta", key: "mark", into: 0 },
    { kind: "counter", packets: 2n ** 40n, bytes: 2n ** 63n },
    { kind: "immediate", verdict: { goto: "masq_10.0.0.0/8" } },
    { kind: "opaque", name: "limit", bytes: Uint8Array.of(8, 0, 1, 0, 1, 2, 3, 4) },
  ];
  test.each(plain.map((e) => [e.kind, e] as const))("of kind %s survives a round trip", (_, e) => {
    expect(decodeExpr(encodeExpr(e))).toEqual(e);
  });

  test("with an option that its kind has no word for is kept as it is", () => {
    // NFTA_MASQ_FLAGS: masquerade random.
    const bytes = Uint8Array.of(8, 0, 1, 0, 0, 0, 0, 4);
    const shown = decodeExpr({ name: "masq", data: bytes });
    expect(shown).toEqual({ kind: "opaque", name: "masq", bytes });
    expect(encodeExpr(shown)).toEqual({ name: "masq", data: bytes });
  });

  test("that masquerades to any port has the kernel's flag for it", () => {
    // NFTA_MASQ_FLAGS: NF_NAT_RANGE_PROTO_RANDOM_FULLY.
    const data = Uint8Array.of(8, 0, 1, 0, 0, 0, 0, 16);
    expect(encodeExpr({ kind: "masq", random: "fully" })).toEqual({ name: "masq", data });
  });

  test("that translates to a range is kept as it is", () => {
    const range =
      encodeExpr({ kind: "nat", type: "dnat", family: "ip", address: 0 }).data ?? new Uint8Array(0);
    const bytes = new Uint8Array([...range, 8, 0, 4, 0, 0, 0, 0, 2]);
    expect(decodeExpr({ name: "nat", data: bytes })).toMatchObject({ kind: "opaque", name: "nat" });
  });
});

describe("registers", () => {
  test("go by the number that the kernel shows", () => {
    const numbers = Array.from({ length: 16 }, (_, word) => registerNumber(word));
    expect(numbers).toEqual([1, 9, 10, 11, 2, 13, 14, 15, 3, 17, 18, 19, 4, 21, 22, 23]);
    expect(numbers.map(registerWord)).toEqual(numbers.map((_, word) => word));
    expect(() => registerNumber(16)).toThrow(RangeError);
  });
});

describe("a rule", () => {
  const lo: Statement = { ifname: "iifname", op: "==", is: "lo" };
  test.each([
    [
      "both protocols",
      "inet",
      [
        ["ip saddr", "10.0.0.0/8"],
        ["ip6 daddr", "fd00::/8"],
      ],
    ],
    ["the other protocol's field", "ip", [["ip6 daddr", "fd00::/8"]]],
    ["a prefix of the other protocol", "inet", [["ip saddr", "fd00::/8"]]],
    ["a network field in the bridge family", "bridge", [["ip saddr", "10.0.0.0/8"]]],
  ] as const)("with %s is refused", (_, family, tests) => {
    const statements = tests.map(([field, p]): Statement => ({ prefix: field, op: "==", in: prefix(p) }));
    expect(() => rule(family, [lo, ...statements])).toThrow(TypeError);
  });

  test("with an Ethernet field outside the bridge family is refused", () => {
    expect(() => rule("inet", [{ member: ["ether saddr"], of: "s" }])).toThrow(TypeError);
  });
});

describe("a key", () => {
  test.each<[string, Parameters<typeof encodeKey>[0], Scalar[], string]>([
    ["of one address", ["ipv4_addr"], [ip("10.0.0.1")], "0a000001"],
    ["of one protocol, unpadded", ["inet_proto"], [6], "06"],
    ["of a concatenation, each member padded", ["inet_proto", "inet_service"], [6, 9090], "0600000023820000"],
    [
      "of a MAC address behind a name",
      ["ifname", "ether_addr"],
      ["a", "02:00:00:00:00:01"],
      `61${"00".repeat(15)}0200000000010000`,
    ],
  ])("%s has the kernel's bytes", (_, key, values, hex) => {
    expect(encodeKey(key, values).toHex()).toBe(hex);
    expect(decodeKey(key, Uint8Array.fromHex(hex))).toEqual(values);
  });

  test.each<[string, Parameters<typeof encodeKey>[0], Scalar[]]>([
    ["an address of the other family", ["ipv6_addr"], [ip("10.0.0.1")]],
    ["a port that is too large", ["inet_service"], [65536]],
    ["a negative protocol", ["inet_proto"], [-1]],
    ["a name that is too long", ["ifname"], ["sixteen-letters!"]],
    ["an empty name", ["ifname"], [""]],
    ["text that is no MAC address", ["ether_addr"], ["02:00"]],
    ["too few values", ["inet_proto", "inet_service"], [6]],
  ])("refuses %s", (_, key, values) => {
    expect(() => encodeKey(key, values)).toThrow(TypeError);
  });
});

describe("user data", () => {
  test("carries a comment as nft writes it", () => {
    expect(encodeComment("x").toHex()).toBe("00027800");
    expect(decodeComment(encodeComment("Übergang"))).toBe("Übergang");
    expect(() => encodeComment("x".repeat(129))).toThrow(RangeError);
  });

  test("of other programs reads as no entries and does no harm", () => {
    expect(decodeUdata(Uint8Array.of(0, 200, 1))).toEqual([]);
    expect(decodeUdata(Uint8Array.of(7))).toEqual([]);
    expect(decodeComment(undefined)).toBeUndefined();
    expect(() => encodeUdata([[0, new Uint8Array(256)]])).toThrow(RangeError);
  });
});

test("messages of nftables carry the subsystem and no version", () => {
  const request = addRule({ family: "inet", table: "t" }, "c", rule("inet", []));
  expect(request.type).toBe((SUBSYSTEM << 8) | NFT_MSG.NEWRULE);
  expect([...request.body.subarray(0, 4)]).toEqual([1, 0, 0, 0]);
});
