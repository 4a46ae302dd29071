import { describe, expect, test } from "bun:test";
import { refusedField } from "../../../testing/master-plan.ts";
import { confOf, fresh, inputOf, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { plan } from "./plan.ts";

const ipam = { type: "static" };

describe("the configuration of dummy", () => {
  test.each([
    ["ipam", {}],
    ["ipam.type", { ipam: {} }],
    ["ipam.type", { ipam: { type: 3 } }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refusedField(() => parseConfig(confOf("dummy", raw)))).toBe(field);
  });
  test("without IPAM can still be cleaned up after", () => {
    expect(parseForRemoval(confOf("dummy", {})).ipam).toBeUndefined();
    expect(parseForRemoval(confOf("dummy", { ipam })).ipam).toBe("static");
  });
});

test("the plan of dummy is a link of its own with the addresses, and no detection of others", () => {
  const lease = { ips: [{ address: "10.1.2.3/32" }, { address: "fd00::3/128" }], dns: { search: ["a"] } };
  const { state, result } = plan(inputOf(parseConfig(confOf("dummy", { ipam })), lease));
  expect(objectsOf(state, "link")).toEqual([
    {
      kind: "link",
      possession: "exclusive",
      place: "container",
      name: "eth0",
      type: { kind: "dummy" },
      mac: fresh.containerMac,
    },
  ]);
  expect(objectsOf(state, "address").map((a) => [a.address.text, a.dad])).toEqual([
    ["10.1.2.3/32", false],
    ["fd00::3/128", false],
  ]);
  expect(result.interfaces).toEqual([
    { name: "eth0", mac: fresh.containerMac, mtu: 1500, sandbox: "/run/netns/c" },
  ]);
  expect(result.dns).toEqual({ search: ["a"] });
});
