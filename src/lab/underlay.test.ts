import { describe, expect, test } from "bun:test";
import type { LabSpec } from "./model.ts";
import { planPartitions } from "./fault.ts";
import { nextNumber, planUnderlay } from "./underlay.ts";

const spec: LabSpec = {
  name: "lab",
  hosts: 3,
  underlay: "flat",
  subnets: 1,
  ip: "4",
  mtuBytes: 1500,
  offload: true,
  provider: "none",
  backend: "",
  store: "file",
};
const addresses = (change: Partial<LabSpec>, moved = {}) =>
  planUnderlay({ spec: { ...spec, ...change }, moved }).hosts.map(({ addresses: own, gateways }) => [
    ...own.map((p) => p.text),
    ...gateways.map((ip) => `via ${ip.text}`),
  ]);

describe("an underlay", () => {
  test("that is flat has all hosts in one subnet, behind one router", () => {
    expect(addresses({})).toEqual([
      ["192.168.1.11/24", "via 192.168.1.1"],
      ["192.168.1.12/24", "via 192.168.1.1"],
      ["192.168.1.13/24", "via 192.168.1.1"],
    ]);
  });

  test("that is routed has groups of hosts, in order, in subnets of their own", () => {
    expect(addresses({ underlay: "routed", subnets: 2, ip: "dual" })).toEqual([
      ["192.168.1.11/24", "fd00:0:0:1::11/64", "via 192.168.1.1", "via fd00:0:0:1::1"],
      ["192.168.1.12/24", "fd00:0:0:1::12/64", "via 192.168.1.1", "via fd00:0:0:1::1"],
      ["192.168.2.13/24", "fd00:0:0:2::13/64", "via 192.168.2.1", "via fd00:0:0:2::1"],
    ]);
  });

  test("of one family has addresses of that alone", () => {
    expect(addresses({ hosts: 1, ip: "6" })).toEqual([["fd00:0:0:1::11/64", "via fd00:0:0:1::1"]]);
  });

  test("has an address and two hardware addresses for each of 200 hosts, and no address twice", () => {
    const { hosts } = planUnderlay({ spec: { ...spec, hosts: 200, ip: "dual" }, moved: { host7: 211 } });
    const all = hosts.flatMap((h) => [h.mac, h.portMac, ...h.addresses.map((p) => p.text)]);
    expect(new Set(all).size).toBe(800);
  });

  test("gives a host that was moved its new number in every family", () => {
    expect(addresses({ ip: "dual" }, { host2: 211 })[1]).toEqual([
      "192.168.1.211/24",
      "fd00:0:0:1::211/64",
      "via 192.168.1.1",
      "via fd00:0:0:1::1",
    ]);
  });
});

test("a number that nobody moved to is found until all are taken", () => {
  expect(nextNumber({})).toBe(211);
  expect(nextNumber({ host1: 211, host2: 213 })).toBe(212);
  const all = Object.fromEntries(Array.from({ length: 44 }, (_, i) => [`host${i}`, 211 + i]));
  expect(nextNumber(all)).toBeUndefined();
});

describe("a partition", () => {
  const routed = planUnderlay({ spec: { ...spec, underlay: "routed", subnets: 2, ip: "dual" }, moved: {} });

  test("drops by ports on a bridge, and by addresses where packets are routed, both ways", () => {
    const { bridge, inet } = planPartitions(routed, [
      { kind: "partition", one: ["host1"], other: ["host2", "host3"] },
    ]);
    const matches = (rules: typeof bridge): readonly string[] =>
      rules.map((rule) => rule.flatMap((s) => ("is" in s ? s.is : "in" in s ? s.in.text : [])).join(" "));
    expect(matches(bridge)).toEqual(["host1 host2", "host2 host1"]);
    expect(matches(inet)).toEqual([
      "192.168.1.11/32 192.168.2.13/32",
      "fd00:0:0:1::11/128 fd00:0:0:2::13/128",
      "192.168.2.13/32 192.168.1.11/32",
      "fd00:0:0:2::13/128 fd00:0:0:1::11/128",
    ]);
  });

  test("is nothing where no fault is one", () => {
    expect(planPartitions(routed, [{ kind: "cut", host: "host1" }])).toEqual({ bridge: [], inet: [] });
  });
});
