import { describe, expect, test } from "bun:test";
import { hostWith, MASTER_MAC, refusedField } from "../../../testing/master-plan.ts";
import { confOf, fresh, inputOf, linkFact, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const ipam = { type: "host-local" };
const V4 = { ips: [{ address: "10.1.2.3/24" }] };
const configOf = (raw: object) => parseConfig(confOf("vlan", { master: "eth0", ...raw }));
const planOf = (raw: object, lease?: Readonly<Record<string, unknown>>) =>
  plan(inputOf(configOf(raw), lease), hostWith());

describe("the configuration of vlan", () => {
  test("has the defaults of the reference", () => {
    expect(configOf({ mtu: 0, ipam: {} })).toEqual({
      master: "eth0" as never,
      linkInContainer: false,
      vlanId: 0,
      dad: "optimistic",
    });
    expect(configOf({ vlanId: 4094, mtu: 1400, ipam, enabledad: true })).toMatchObject({
      vlanId: 4094,
      mtuBytes: 1400,
      ipam: "host-local",
      dad: true,
    });
  });
  test.each([
    ["master", { master: undefined }],
    ["master", { master: "" }],
    ["master", { master: "a/b" }],
    ["vlanId", { vlanId: -1 }],
    ["vlanId", { vlanId: 4095 }],
    ["vlanId", { vlanId: 1.5 }],
    ["vlanId", { vlanId: "100" }],
    ["mtu", { mtu: -1 }],
    ["mtu", { mtu: 67 }],
    ["linkInContainer", { linkInContainer: 1 }],
    ["enabledad", { enabledad: "no" }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refusedField(() => configOf(raw))).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("vlan", { vlanId: 4095, ipam })).ipam).toBe("host-local");
    expect(parseForRemoval(confOf("vlan", {})).ipam).toBeUndefined();
  });
});

describe("the plan of vlan", () => {
  test("is a link on the master with its MAC address, or the one that was asked for", () => {
    const { state, result } = planOf({ vlanId: 100 });
    expect(objectsOf(state, "link")).toMatchObject([
      { type: { kind: "vlan", id: 100 }, lower: { place: "host", name: "eth0" }, mac: MASTER_MAC },
    ]);
    expect(state.objects.map((o) => o.kind)).toEqual(["link", "link-up"]);
    expect(result.interfaces).toEqual([
      { name: "eth0", mac: MASTER_MAC, mtu: 1500, sandbox: "/run/netns/c" },
    ]);
    const asked = { ...inputOf(configOf({}), undefined), mac: fresh.hostMac };
    expect(plan(asked, hostWith()).result.interfaces[0]?.mac).toBe(fresh.hostMac);
  });
  test("gives the container its addresses", () => {
    const { state, result } = planOf({ ipam }, V4);
    expect(objectsOf(state, "address").map((a) => a.address.text)).toEqual(["10.1.2.3/24"]);
    expect(result.ips.map((ip) => ip.interface)).toEqual([0]);
  });
  test("finds its master where it is, and refuses one that is not there or is smaller", () => {
    expect(needs(inputOf(configOf({ linkInContainer: true }), V4)).links?.[0]?.place).toBe("container");
    expect(refusedField(() => planOf({ master: "eth9" }))).toBe("master");
    expect(refusedField(() => planOf({ mtu: 1501 }))).toBe("mtu");
    const down = { ...hostWith(), links: new Map([["host eth0", linkFact("eth0", { up: false })]]) };
    expect(refusedField(() => plan(inputOf(configOf({}), undefined), down))).toBe("master");
  });
});
