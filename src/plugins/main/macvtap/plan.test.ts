import { describe, expect, test } from "bun:test";
import { factKey } from "../../../netstate/facts.ts";
import { hostWith, MASTER_MAC, refusedField } from "../../../testing/master-plan.ts";
import { confOf, fresh, inputOf, linkFact, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const configOf = (raw: object) => parseConfig(confOf("macvtap", { master: "eth0", ...raw }));

describe("the configuration of macvtap", () => {
  test("is that of macvlan and to whom the device belongs", () => {
    expect(configOf({ owner: 0, group: 107, mode: "vepa", mtu: 1400, bcqueuelen: 7 })).toMatchObject({
      uid: 0,
      gid: 107,
      mode: "vepa",
      mtuBytes: 1400,
      broadcastQueueLength: 7,
    });
  });
  test.each([
    ["owner", { owner: -1 }],
    ["owner", { owner: "root" }],
    ["group", { group: 4294967295 }],
    ["group", { group: 1.5 }],
    ["mode", { mode: "tap" }],
    ["master", { master: "a/b" }],
    ["mac", { mac: "00:00:00:00:00:00" }],
    ["bcqueuelen", { bcqueuelen: "many" }],
  ])("names the field %s of %j", (field, raw) => {
    expect(refusedField(() => configOf(raw))).toBe(field);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    const raw = { owner: "root", ipam: { type: "static" } };
    expect(parseForRemoval(confOf("macvtap", raw)).ipam).toBe("static");
  });
});

describe("the plan of macvtap", () => {
  test("chooses the link's index and with it the name of the device", () => {
    const { state, result } = plan(inputOf(configOf({ group: 107 }), undefined), hostWith());
    const path = `/dev/tap${fresh.linkIndex}`;
    expect(objectsOf(state, "link")[0]).toMatchObject({
      type: { kind: "macvtap", mode: "bridge" },
      index: fresh.linkIndex,
      mac: fresh.containerMac,
    });
    expect(objectsOf(state, "device-node")).toEqual([
      { kind: "device-node", possession: "exclusive", path, gid: 107 },
    ]);
    expect(result.interfaces).toEqual([
      { name: "eth0", mac: fresh.containerMac, mtu: 1500, sandbox: "/run/netns/c", socketPath: path },
    ]);
  });
  test("in mode passthru has the master's MAC address", () => {
    const { result } = plan(inputOf(configOf({ mode: "passthru" }), undefined), hostWith());
    expect(result.interfaces[0]?.mac).toBe(MASTER_MAC);
  });
  test("in CHECK looks for the device by the index that the link has, as older results do not name it", () => {
    const final = { interfaces: [{ name: "eth0", mac: fresh.containerMac, sandbox: "/run/netns/c" }] };
    const input = inputOf(configOf({}), final, final);
    expect(needs(input).links).toEqual([
      { place: "host", name: "eth0", addresses: false },
      { place: "container", name: "eth0" },
    ]);
    const facts = hostWith();
    const links = new Map([
      ...facts.links,
      [factKey("container", "eth0"), linkFact("eth0", { index: 268435999 })],
    ]);
    const { state } = plan(input, { ...facts, links });
    expect(objectsOf(state, "device-node")[0]?.path).toBe("/dev/tap268435999");
  });
});
