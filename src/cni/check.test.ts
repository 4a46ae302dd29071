import { describe, expect, test } from "bun:test";
import type { Of } from "../netstate/model.ts";
import { fresh } from "../testing/plan.ts";
import { wantedMtu } from "./check.ts";

const link = (type: Of<"link">["type"], more: Partial<Of<"link">> = {}): Of<"link"> => ({
  kind: "link",
  possession: "exclusive",
  place: "container",
  name: "eth0",
  type,
  mtuBytes: 1400,
  ...more,
});
const vlan = link({ kind: "vlan", id: 100 });
const macvlan = link({ kind: "macvlan", mode: "bridge" });
const pair: Of<"veth"> = {
  kind: "veth",
  possession: "exclusive",
  host: { name: "veth1", mac: fresh.hostMac },
  container: { name: "eth0", mac: fresh.containerMac },
  mtuBytes: 1400,
};
const inside = { name: "eth0", sandbox: "/run/netns/c" };
const tells = {
  interfaces: [
    { name: "eth0", mtu: 9000 },
    { ...inside, mtu: 1300 },
  ],
};
const tellsNone = { interfaces: [inside] };

describe("the MTU that CHECK wants", () => {
  test("is what the final result tells, for later plugins may change it", () => {
    for (const object of [vlan, macvlan, pair]) expect(wantedMtu([object], "eth0", tells)).toBe(1300);
  });
  test("is that of the configuration for a VLAN alone where the result tells none", () => {
    expect(wantedMtu([vlan], "eth0", tellsNone)).toBe(1400);
    for (const object of [macvlan, pair]) expect(wantedMtu([object], "eth0", tellsNone)).toBeUndefined();
  });
  test("may be any where the configuration gives none, or the interface is another plugin's", () => {
    const { mtuBytes: _, ...free } = vlan;
    const shim = link({ kind: "macvlan", mode: "bridge" }, { place: "host" });
    for (const object of [free, shim, { ...vlan, name: "eth1" }])
      expect(wantedMtu([object], "eth0", tells)).toBeUndefined();
  });
});
