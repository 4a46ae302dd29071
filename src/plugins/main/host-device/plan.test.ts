import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import type { DeviceFound } from "../../../netstate/find-device.ts";
import type { Facts } from "../../../netstate/facts.ts";
import { MOVED } from "../../../netstate/kinds/moved-link.ts";
import { markOf } from "../../../netstate/owner.ts";
import type { Link } from "../../../rtnl/link.ts";
import { confOf, inputOf, linkFact, mac, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

const MAC = mac("02:00:00:00:0d:01");
const V4 = { ips: [{ address: "10.1.2.3/24", gateway: "10.1.2.1" }], routes: [{ dst: "0.0.0.0/0" }] };
const ipam = { type: "host-local" };

const configOf = (raw: object) => parseConfig(confOf("host-device", { ...raw }));
const factsOf = (hostDevice: DeviceFound, inside?: Partial<Link>): Facts => ({
  ...noFacts,
  hostDevice,
  links: new Map(inside ? [["container eth0", linkFact("eth0", { mac: MAC, ...inside })]] : []),
});
const there: DeviceFound = { kind: "link", link: linkFact("dev0", { mac: MAC, mtuBytes: 9000 }) };
const away: DeviceFound = { kind: "none", why: "the host has no link dev0" };
const planOf = (raw: object, lease: Readonly<Record<string, unknown>> | undefined, facts: Facts) =>
  plan(inputOf(configOf({ device: "dev0", ...raw }), lease), facts);

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (e) {
    for (const code of ["config/invalid", "resource/exists", "check/differs", "prev-result/invalid"] as const)
      if (isNetError(e, code)) return isNetError(e, "config/invalid") ? `${code} ${e.detail.field}` : code;
    throw e;
  }
};

describe("the configuration of host-device", () => {
  test.each([
    ["device", {}],
    ["device", { device: "", hwaddr: "", kernelpath: "", pciBusID: "", runtimeConfig: { deviceID: "" } }],
    ["device", { device: "a/b" }],
    ["device", { device: 7 }],
    ["hwaddr", { hwaddr: "02:00" }],
    ["hwaddr", { hwaddr: 7 }],
    ["kernelpath", { kernelpath: "sys/devices/x" }],
    ["kernelpath", { kernelpath: "/sys/class/net/eth0" }],
    ["kernelpath", { kernelpath: "/sys/devices/../class/net" }],
    ["kernelpath", { kernelpath: 7 }],
    ["pciBusID", { pciBusID: "03:00.1" }],
    ["pciBusID", { pciBusID: "0000:03:00.8" }],
    ["pciBusID", { pciBusID: "../0000:03:00.1" }],
    ["pciBusID", { pciBusID: 7 }],
    ["runtimeConfig.deviceID", { runtimeConfig: { deviceID: "a/b" } }],
    ["runtimeConfig.deviceID", { runtimeConfig: { deviceID: ".." } }],
    ["runtimeConfig.deviceID", { runtimeConfig: { deviceID: 7 } }],
    ["enabledad", { device: "dev0", enabledad: "yes" }],
    ["ipam", { device: "dev0", ipam: "host-local" }],
  ])("is refused by its key %s: %j", (field, raw) => {
    expect(codeOf(() => configOf(raw))).toBe(`config/invalid ${field}`);
  });
  test.each([
    [{ device: "dev0" }, { name: "dev0" }],
    [{ hwaddr: "02-00-00-00-0D-01" }, { mac: MAC }],
    [
      { kernelpath: "/sys/devices/pci0000:00/0000:00:03.0/" },
      { kernelPath: "/sys/devices/pci0000:00/0000:00:03.0" },
    ],
    [{ pciBusID: "0000:3B:00.1" }, { pci: "0000:3b:00.1" }],
    [{ runtimeConfig: { deviceID: "0000:3b:00.2" }, pciBusID: "0000:3b:00.1" }, { pci: "0000:3b:00.2" }],
    [{ runtimeConfig: { deviceID: "mlx5_core.sf.4" } }, { auxiliary: "mlx5_core.sf.4" }],
    [
      { DEVICE: "dev0", pciBusID: "0000:3b:00.1" },
      { name: "dev0", pci: "0000:3b:00.1" },
    ],
  ] as const)("%j names the device %j", (raw, device) => {
    expect(configOf(raw).device).toEqual(device);
  });
  test("that became invalid still names the IPAM plugin for removal", () => {
    expect(parseForRemoval(confOf("host-device", { ipam })).ipam).toBe("host-local");
    expect(parseForRemoval(confOf("host-device", { device: 7, ipam })).ipam).toBe("host-local");
  });
});

describe("the plan of host-device", () => {
  test("reads the device, and what the container has under the name", () => {
    expect(needs(inputOf(configOf({ device: "dev0" }), undefined))).toEqual({
      hostDevice: { name: "dev0" },
      links: [{ place: "container", name: "eth0" }],
    });
  });
  test("moves the device, brings it up and gives it what IPAM gave", () => {
    const { state, result } = planOf({ ipam }, V4, factsOf(there));
    expect(state.objects.map((o) => o.kind)).toEqual([
      "moved-link",
      "sysctl",
      "sysctl",
      "link-up",
      "address",
      "route",
    ]);
    expect(state.objects[0]).toEqual({
      kind: "moved-link",
      possession: "borrowed",
      place: "container",
      name: "dev0",
      to: "eth0",
    });
    expect(result.interfaces).toEqual([{ name: "eth0", mac: MAC, mtu: 9000, sandbox: "/run/netns/c" }]);
    expect(result.ips.map((ip) => ip.interface)).toEqual([0]);
  });
  test("without IPAM brings it up", () => {
    expect(planOf({}, undefined, factsOf(there)).state.objects.map((o) => o.kind)).toEqual([
      "moved-link",
      "link-up",
    ]);
  });
  test("names the PCI device in the result", () => {
    const { result } = planOf({}, undefined, factsOf({ ...there, pciId: "0000:03:00.1" }));
    expect(result.interfaces[0]?.pciID).toBe("0000:03:00.1");
  });
  test("leaves a device that a program drives alone, and still gives addresses", () => {
    const user: DeviceFound = { kind: "user-space", driver: "vfio-pci", pciId: "0000:03:00.1" };
    const { state, result } = planOf({ ipam }, V4, factsOf(user));
    expect(state.objects).toEqual([]);
    expect(result.interfaces).toEqual([]);
    expect(result.ips.map((ip) => [ip.address.text, ip.interface])).toEqual([["10.1.2.3/24", undefined]]);
    expect(result.routes.map((r) => r.dst.text)).toEqual(["0.0.0.0/0"]);
  });
  test("is refused for a device that is not there, the loopback, and a name that the container has", () => {
    expect(codeOf(() => planOf({}, undefined, factsOf(away)))).toBe("config/invalid device");
    const lo: DeviceFound = { kind: "link", link: linkFact("lo", { loopback: true }) };
    expect(codeOf(() => planOf({}, undefined, factsOf(lo)))).toBe("config/invalid device");
    expect(codeOf(() => planOf({}, undefined, factsOf(there, {})))).toBe("resource/exists");
  });
  test("goes on with the device that it has moved when the lease comes later", () => {
    const mark = markOf({ component: "host-device", network: "net", containerId: "c", ifname: "eth0" });
    const inside = { alias: "dev0", altNames: [MOVED + mark] };
    const first = planOf({ ipam }, undefined, factsOf(there));
    const second = planOf({ ipam }, V4, factsOf(away, inside));
    expect(objectsOf(second.state, "moved-link")).toEqual(objectsOf(first.state, "moved-link"));
    expect(objectsOf(second.state, "address")).toHaveLength(1);
    // Without a lease it is an attachment whose record is lost.
    expect(codeOf(() => planOf({}, undefined, factsOf(away, inside)))).toBe("resource/exists");
  });
});

describe("CHECK of host-device", () => {
  const added = (address: string) => ({
    ...V4,
    interfaces: [{ name: "eth0", mac: address, sandbox: "/run/netns/c" }],
  });
  test("wants the address of the final result on the device", () => {
    const { state } = planOf({ ipam }, added("02:00:00:00:0d:02"), factsOf(away, { alias: "dev0" }));
    expect(objectsOf(state, "moved-link")[0]).toMatchObject({ to: "eth0", mac: "02:00:00:00:0d:02" });
  });
  test("differs if the device is gone", () => {
    expect(codeOf(() => planOf({ ipam }, added(MAC), factsOf(away)))).toBe("check/differs");
  });
  test("wants a result with the interface", () => {
    const other = { ...V4, interfaces: [{ name: "eth1", sandbox: "/run/netns/c" }] };
    expect(codeOf(() => planOf({ ipam }, other, factsOf(away, {})))).toBe("prev-result/invalid");
  });
});
