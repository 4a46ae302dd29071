import { describe, expect, test } from "bun:test";
import {
  capacity,
  candidates,
  checkDisjoint,
  isGateway,
  range,
  rangeOf,
  rangeSet,
  setText,
} from "./ranges.ts";
import { ip } from "../../../testing/address.ts";

const set = (...ranges: object[]) => rangeSet(ranges, "ipam.ranges[0]");
const first = (n: number, s: ReturnType<typeof set>, after?: string): string[] =>
  candidates(s, after === undefined ? undefined : ip(after))
    .take(n)
    .map((c) => c.ip.text)
    .toArray();

describe("a range", () => {
  test.each([
    ["10.1.2.0/24", "10.1.2.1", "10.1.2.254", "10.1.2.1"],
    ["10.1.2.128/25", "10.1.2.129", "10.1.2.254", "10.1.2.129"],
    ["10.1.2.4/30", "10.1.2.5", "10.1.2.6", "10.1.2.5"],
    ["2001:db8:1::/64", "2001:db8:1::1", "2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1::1"],
    ["fd00::4/126", "fd00::5", "fd00::7", "fd00::5"],
  ])("of %s goes from %s to %s with gateway %s by default", (subnet, start, end, gateway) => {
    const r = range({ subnet }, "r");
    expect([r.start.text, r.end.text, r.gateway.text]).toEqual([start, end, gateway]);
  });

  test("takes its keys in any case and an empty string as absent", () => {
    const r = range({ Subnet: "10.1.2.0/24", RANGESTART: "10.1.2.9", rangeEnd: "", gateway: "" }, "r");
    expect([r.start.text, r.end.text, r.gateway.text]).toEqual(["10.1.2.9", "10.1.2.254", "10.1.2.1"]);
  });

  test("may have a link-local gateway in IPv6", () => {
    expect(range({ subnet: "fd00::/64", gateway: "fe80::1" }, "r").gateway.text).toBe("fe80::1");
  });

  test.each([
    ["no subnet", {}, "r.subnet"],
    ["no object", "10.1.2.0/24", "r"],
    ["a subnet without a length", { subnet: "10.1.2.0" }, "r.subnet"],
    ["a subnet that is a number", { subnet: 10 }, "r.subnet"],
    ["IPv4 host bits", { subnet: "10.1.2.3/24" }, "r.subnet"],
    ["IPv6 host bits", { subnet: "fd00::1/64" }, "r.subnet"],
    ["a /31", { subnet: "10.1.2.0/31" }, "r.subnet"],
    ["a /32", { subnet: "10.1.2.0/32" }, "r.subnet"],
    ["a /127", { subnet: "fd00::/127" }, "r.subnet"],
    ["a start before the subnet", { subnet: "10.1.2.0/24", rangeStart: "10.1.1.255" }, "r.rangeStart"],
    ["an end after the subnet", { subnet: "10.1.2.0/24", rangeEnd: "10.1.3.0" }, "r.rangeEnd"],
    ["a start of the other family", { subnet: "10.1.2.0/24", rangeStart: "fd00::1" }, "r.rangeStart"],
    [
      "an end before the start",
      { subnet: "10.1.2.0/24", rangeStart: "10.1.2.9", rangeEnd: "10.1.2.8" },
      "r.rangeEnd",
    ],
    ["an IPv4 gateway outside", { subnet: "10.1.2.0/24", gateway: "10.1.3.1" }, "r.gateway"],
    ["an IPv4 link-local gateway outside", { subnet: "10.1.2.0/24", gateway: "169.254.1.1" }, "r.gateway"],
    ["an IPv6 gateway outside", { subnet: "fd00::/64", gateway: "fd01::1" }, "r.gateway"],
    ["a gateway of the other family", { subnet: "10.1.2.0/24", gateway: "fe80::1" }, "r.gateway"],
    ["an address that is none", { subnet: "10.1.2.0/24", gateway: "10.1.2.256" }, "r.gateway"],
  ])("refuses %s", (_, value, field) => {
    expect(() => range(value, "r")).toThrow(
      expect.objectContaining({ code: "config/invalid", detail: expect.objectContaining({ field }) }),
    );
  });
});

describe("a range set", () => {
  test.each([
    ["nothing", []],
    ["two families", [{ subnet: "10.1.2.0/24" }, { subnet: "fd00::/64" }]],
    ["one range twice", [{ subnet: "10.1.2.0/24" }, { subnet: "10.1.2.0/24" }]],
    ["a range inside another", [{ subnet: "10.1.0.0/16" }, { subnet: "10.1.2.0/24" }]],
    [
      "ranges of one subnet that overlap",
      [
        { subnet: "10.1.2.0/24", rangeEnd: "10.1.2.9" },
        { subnet: "10.1.2.0/24", rangeStart: "10.1.2.9" },
      ],
    ],
  ])("refuses %s", (_, ranges) => {
    expect(() => set(...ranges)).toThrow("ipam.ranges[0]");
  });

  test("may hold separate parts of one subnet", () => {
    const s = set(
      { subnet: "10.1.2.0/24", rangeEnd: "10.1.2.9" },
      { subnet: "10.1.2.0/24", rangeStart: "10.1.2.20", rangeEnd: "10.1.2.29" },
    );
    expect(setText(s)).toBe("10.1.2.1-10.1.2.9,10.1.2.20-10.1.2.29");
    expect(rangeOf(s, ip("10.1.2.25"))?.start.text).toBe("10.1.2.20");
    expect(rangeOf(s, ip("10.1.2.15"))).toBeUndefined();
    expect(rangeOf(s, ip("fd00::1"))).toBeUndefined();
  });

  test("shares no address with another set", () => {
    expect(() =>
      checkDisjoint("x", [set({ subnet: "10.1.0.0/16" }), set({ subnet: "10.1.2.0/24" })]),
    ).toThrow("overlaps");
    expect(() =>
      checkDisjoint("x", [set({ subnet: "10.1.2.0/24" }), set({ subnet: "fd00::/64" })]),
    ).not.toThrow();
  });

  test("counts what it can give out, gateways left out once", () => {
    expect(capacity(set({ subnet: "10.1.2.0/24" }))).toBe(253n);
    expect(capacity(set({ subnet: "10.1.2.0/30" }))).toBe(1n);
    expect(capacity(set({ subnet: "10.1.2.0/24", rangeStart: "10.1.2.10", rangeEnd: "10.1.2.19" }))).toBe(
      10n,
    );
    expect(capacity(set({ subnet: "fd00::/64" }))).toBe(2n ** 64n - 2n);
    const halves = set(
      { subnet: "10.1.2.0/24", rangeEnd: "10.1.2.5" },
      { subnet: "10.1.2.0/24", rangeStart: "10.1.2.6", rangeEnd: "10.1.2.9" },
    );
    expect(capacity(halves)).toBe(8n);
  });
});

describe("the order of candidates", () => {
  const small = set(
    { subnet: "10.1.2.0/29", gateway: "10.1.2.3" },
    { subnet: "10.1.4.0/30" },
    { subnet: "10.1.6.0/29", rangeStart: "10.1.6.4", rangeEnd: "10.1.6.5" },
  );
  const all = [
    "10.1.2.1",
    "10.1.2.2",
    "10.1.2.4",
    "10.1.2.5",
    "10.1.2.6",
    "10.1.4.2",
    "10.1.6.4",
    "10.1.6.5",
  ];

  test("is the beginning first, without gateways, when nothing was given yet", () => {
    expect(first(99, small)).toEqual(all);
  });

  test.each(all.map((after, i) => [after, i] as const))(
    "after %s begins behind it and ends with it",
    (after, i) => {
      expect(first(99, small, after)).toEqual([...all.slice(i + 1), ...all.slice(0, i + 1)]);
    },
  );

  test("begins anew after an address of another network", () => {
    expect(first(2, small, "10.9.9.9")).toEqual(all.slice(0, 2));
    expect(first(2, small, "fd00::1")).toEqual(all.slice(0, 2));
  });

  test("never gives out the gateway of another range of the set", () => {
    const s = set(
      { subnet: "10.1.2.0/30", gateway: "10.1.2.1" },
      { subnet: "10.1.2.0/24", rangeStart: "10.1.2.8", rangeEnd: "10.1.2.9", gateway: "10.1.2.2" },
    );
    expect(isGateway(s, ip("10.1.2.2"))).toBe(true);
    expect(first(99, s)).toEqual(["10.1.2.8", "10.1.2.9"]);
  });

  test("does not list a /64 to find the next of it", () => {
    const s = set({ subnet: "fd00::/64" });
    expect(first(2, s, "fd00::ffff:ffff:ffff:fffe")).toEqual(["fd00::ffff:ffff:ffff:ffff", "fd00::2"]);
  });
});
