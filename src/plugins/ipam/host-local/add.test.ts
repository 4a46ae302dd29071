import { describe, expect, test } from "bun:test";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { emptyResult } from "../../../cni/result.ts";
import { versions } from "../../../cni/version.ts";
import {
  addresses,
  type DataDir,
  failure,
  key,
  makeDataDir,
  type Setup,
  verbs,
} from "../../../testing/ipam.ts";
import { hostLocal } from "./plugin.ts";

const a = key("a");
const b = key("b");
const at = (data: DataDir, ipam: object, setup?: Setup) =>
  verbs(hostLocal, { type: "host-local", dataDir: data.path, ...ipam }, setup);
const subnet = { subnet: "10.1.2.0/24" };
describe("ADD", () => {
  test.each(versions)("gives address, gateway, routes and DNS for version %s", async (cniVersion) => {
    using data = makeDataDir();
    const resolvConf = join(data.path, "resolv.conf");
    writeFileSync(resolvConf, "nameserver 192.0.2.3\n");
    const routes = [
      { dst: "0.0.0.0/0" },
      { dst: "192.168.0.0/16", gw: "10.1.2.9", mtu: 1400, priority: 5, table: 7, scope: 0 },
    ];
    const result = await at(data, { ...subnet, routes, resolvConf }, { cniVersion }).add(a);
    expect(result.interfaces).toEqual([]);
    expect(result.ips.map((i) => [i.address.text, i.gateway?.text, i.interface])).toEqual([
      ["10.1.2.2/24", "10.1.2.1", undefined],
    ]);
    expect(result.routes.map((r) => ({ ...r, dst: r.dst.text, gw: r.gw?.text }))).toEqual([
      { dst: "0.0.0.0/0", gw: undefined },
      { dst: "192.168.0.0/16", gw: "10.1.2.9", mtu: 1400, priority: 5, table: 7, scope: 0 },
    ]);
    expect(result.dns).toEqual({ nameservers: ["192.0.2.3"] });
  });

  test("leaves the reference's files with the reference's modes, and no other in the directory", async () => {
    using data = makeDataDir();
    await at(data, subnet).add(a);
    expect(data.names()).toEqual(["10.1.2.2", "last_reserved_ip.0", "lock"]);
    expect(data.read("10.1.2.2")).toBe("a\r\neth0");
    expect(data.read("last_reserved_ip.0")).toBe("10.1.2.2");
    const mode = (name: string): number => statSync(join(data.path, "net", name)).mode & 0o777;
    expect([mode("10.1.2.2"), mode("last_reserved_ip.0"), mode("lock"), mode(".")]).toEqual([
      0o600, 0o600, 0o600, 0o755,
    ]);
  });

  test("gives one address of each set, IPv6 named in its shortest form", async () => {
    using data = makeDataDir();
    const ranges = [
      [{ subnet: "10.1.2.0/24" }],
      [{ subnet: "fd00:0:0:1::/64" }],
      [{ subnet: "10.9.0.0/16" }],
    ];
    const result = await at(data, { ranges }).add(a);
    expect(addresses(result)).toEqual(["10.1.2.2/24", "fd00:0:0:1::2/64", "10.9.0.2/16"]);
    expect(Object.keys(data.reservations())).toEqual(["10.1.2.2", "10.9.0.2", "fd00:0:0:1::2"]);
    expect(data.read("last_reserved_ip.2")).toBe("10.9.0.2");
  });

  test("goes round robin: what was freed last comes last", async () => {
    using data = makeDataDir();
    const v = at(data, { ...subnet, rangeStart: "10.1.2.10", rangeEnd: "10.1.2.12" });
    const got: string[] = [];
    for (let i = 0; i < 5; i++) {
      got.push(...addresses(await v.add(a)));
      await v.del(a);
    }
    expect(got.map((s) => s.slice(7, 9))).toEqual(["10", "11", "12", "10", "11"]);
  });

  test("finds the one free address in a range that is full otherwise", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    for (let i = 0; i < 253; i++) await v.add(key(`c${i}`));
    expect(await failure(v.add(a))).toMatchObject({
      code: "ipam/exhausted",
      message: expect.stringContaining("10.1.2.1-10.1.2.254"),
    });
    await v.del(key("c100"));
    expect(addresses(await v.add(a))).toEqual(["10.1.2.102/24"]);
  });

  test("uses an address with an empty file only when nothing else is left", async () => {
    using data = makeDataDir();
    const v = at(data, { ...subnet, rangeEnd: "10.1.2.3" });
    await v.add(a);
    await v.del(a);
    data.write("10.1.2.3", "");
    expect(addresses(await v.add(a))).toEqual(["10.1.2.2/24"]);
    expect(addresses(await v.add(b))).toEqual(["10.1.2.3/24"]);
    expect(data.read("10.1.2.3")).toBe("b\r\neth0");
    expect(await failure(v.add(key("c")))).toMatchObject({ code: "ipam/exhausted" });
  });

  test("keeps off an address that somebody took out of use with a text of his own", async () => {
    using data = makeDataDir();
    const v = at(data, { ...subnet, rangeEnd: "10.1.2.3" });
    await v.add(a);
    await v.del(a);
    data.write("10.1.2.2", "the printer");
    data.write("10.1.2.3", "the scanner");
    expect(await failure(v.add(a))).toMatchObject({ code: "ipam/exhausted" });
  });

  test("gives back the first set's address when the second has none", async () => {
    using data = makeDataDir();
    const ranges = [[{ subnet: "10.1.2.0/24" }], [{ subnet: "10.1.4.0/30" }]];
    const v = at(data, { ranges });
    await v.add(a);
    expect(await failure(v.add(b))).toMatchObject({ code: "ipam/exhausted" });
    expect(Object.values(data.reservations())).toEqual(["a\r\neth0", "a\r\neth0"]);
  });

  test("refuses a second address to an attachment, but not to another interface of the container", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    expect(await failure(v.add(a))).toMatchObject({ code: "ipam/taken", detail: { address: "10.1.2.2" } });
    expect(addresses(await v.add(key("a", "net1")))).toEqual(["10.1.2.3/24"]);
  });

  test("refuses a second address to a container that has one in the old format", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(b);
    data.write("10.1.2.40", " a\n");
    expect(await failure(v.add(a))).toMatchObject({ code: "ipam/taken", detail: { address: "10.1.2.40" } });
  });

  test("begins anew when the last address is unreadable or of another network", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    for (const [i, text] of ["", "rubbish", "10.9.9.9"].entries()) {
      data.write("last_reserved_ip.0", text);
      expect(addresses(await v.add(key(`c${i}`)))).toEqual([`10.1.2.${i + 3}/24`]);
    }
  });

  test("keeps networks apart", async () => {
    using data = makeDataDir();
    await at(data, subnet).add(a);
    expect(addresses(await at(data, subnet, { name: "net2" }).add(a))).toEqual(["10.1.2.2/24"]);
    expect(Object.keys(data.reservations("net2"))).toEqual(["10.1.2.2"]);
  });

  test("names the file when resolvConf cannot be read, and reserves nothing", async () => {
    using data = makeDataDir();
    const e = await failure(at(data, { ...subnet, resolvConf: "/nonexistent/resolv.conf" }).add(a));
    expect(e).toMatchObject({
      code: "sys/call",
      detail: { on: "/nonexistent/resolv.conf", errno: "ENOENT" },
    });
    expect(existsSync(join(data.path, "net"))).toBe(false);
  });
});

describe("a requested address", () => {
  const ranges = [[{ subnet: "10.1.2.0/24" }, { subnet: "10.1.4.0/24" }], [{ subnet: "fd00::/64" }]];

  test.each<[string, Setup]>([
    ["CNI_ARGS", { args: "IP=10.1.4.77" }],
    ["CNI_ARGS with a length", { args: "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.4.77/24" }],
    ["CNI_ARGS beside a MAC address, which is for others", { args: "MAC=02:00:00:00:00:01;IP=10.1.4.77" }],
    ["args.cni.ips", { more: { args: { cni: { ips: ["10.1.4.77"] } } } }],
    ["args.cni.ips with a length", { more: { args: { cni: { ips: ["10.1.4.77/16"] } } } }],
    ["runtimeConfig.ips", { more: { runtimeConfig: { ips: ["10.1.4.77"] } } }],
    ["RuntimeConfig.IPs in other case", { more: { RuntimeConfig: { IPs: ["10.1.4.77/24"] } } }],
  ])("comes from %s", async (_, setup) => {
    using data = makeDataDir();
    const result = await at(data, { ranges }, setup).add(a);
    expect(result.ips.map((i) => [i.address.text, i.gateway?.text])).toEqual([
      ["10.1.4.77/24", "10.1.4.1"],
      ["fd00::2/64", "fd00::1"],
    ]);
    expect(data.read("last_reserved_ip.0")).toBe("10.1.4.77");
  });

  test("comes from all sources together, one for each set", async () => {
    using data = makeDataDir();
    const more = { args: { cni: { ips: ["fd00::abcd"] } }, runtimeConfig: { ips: ["10.1.2.9", "10.9.0.9"] } };
    const three = [...ranges, [{ subnet: "10.9.0.0/16" }]];
    const result = await at(data, { ranges: three }, { more, args: "" }).add(a);
    expect(addresses(result)).toEqual(["10.1.2.9/24", "fd00::abcd/64", "10.9.0.9/16"]);
  });

  test.each<[string, string[], string]>([
    ["outside every set", ["10.7.7.7"], "10.7.7.7"],
    ["second in one set", ["10.1.2.9", "10.1.4.9"], "10.1.4.9"],
    ["before a range", ["10.1.2.0"], "10.1.2.0"],
    ["a broadcast address", ["10.1.2.255"], "10.1.2.255"],
    ["a gateway", ["10.1.4.1"], "gateway"],
  ])("that is %s is an error and leaves nothing", async (_, ips, text) => {
    using data = makeDataDir();
    const e = await failure(at(data, { ranges }, { more: { runtimeConfig: { ips } } }).add(a));
    expect(e).toMatchObject({ code: "config/invalid", message: expect.stringContaining(text) });
    expect(existsSync(join(data.path, "net"))).toBe(false);
  });

  test("that is named twice counts once", async () => {
    using data = makeDataDir();
    const setup = { args: "IP=10.1.2.9", more: { runtimeConfig: { ips: ["10.1.2.9/24"] } } };
    expect(addresses(await at(data, { ranges }, setup).add(a))).toEqual(["10.1.2.9/24", "fd00::2/64"]);
  });

  test("that another attachment has is an error that names it", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    const e = await failure(v.add(b, "IP=10.1.2.2"));
    expect(e).toMatchObject({ code: "ipam/taken", detail: { address: "10.1.2.2", owner: "a eth0" } });
    expect(Object.keys(data.reservations())).toEqual(["10.1.2.2"]);
  });

  test("is no way to a second address", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    expect(await failure(v.add(a, "IP=10.1.2.50"))).toMatchObject({
      code: "ipam/taken",
      detail: { address: "10.1.2.2" },
    });
    expect(Object.keys(data.reservations())).toEqual(["10.1.2.2"]);
  });

  test("whose file is empty is given", async () => {
    using data = makeDataDir();
    const v = at(data, subnet);
    await v.add(a);
    data.write("10.1.2.50", "");
    expect(addresses(await v.add(b, "IP=10.1.2.50"))).toEqual(["10.1.2.50/24"]);
  });

  test.each<[string, string, string]>([
    ["an address that is none", "IP=10.1.2", "decode/malformed"],
    ["an unknown key", "IPS=10.1.2.3", "env/invalid"],
    ["a trailing semicolon", "IP=10.1.2.3;", "env/invalid"],
  ])("in CNI_ARGS with %s is an error", async (_, args, code) => {
    using data = makeDataDir();
    expect(await failure(at(data, subnet, { args }).add(a))).toMatchObject({ code });
  });
});

describe("the configuration", () => {
  test("puts the runtime's ranges first, then the single one, then the list", async () => {
    using data = makeDataDir();
    const more = { runtimeConfig: { ipRanges: [[{ subnet: "10.3.0.0/24" }], [{ subnet: "fd03::/64" }]] } };
    const ipam = {
      ...subnet,
      rangeStart: "10.1.2.7",
      gateway: "10.1.2.99",
      ranges: [[{ subnet: "10.2.0.0/24" }]],
    };
    const result = await at(data, ipam, { more }).add(a);
    expect(result.ips.map((i) => [i.address.text, i.gateway?.text])).toEqual([
      ["10.3.0.2/24", "10.3.0.1"],
      ["fd03::2/64", "fd03::1"],
      ["10.1.2.7/24", "10.1.2.99"],
      ["10.2.0.2/24", "10.2.0.1"],
    ]);
  });

  test.each<[string, object, string]>([
    ["no range at all", {}, "ipam.ranges"],
    ["an empty set", { ranges: [[]] }, "ipam.ranges[0]"],
    ["a set that is no list", { ranges: [{ subnet: "10.1.2.0/24" }] }, "ipam.ranges[0]"],
    [
      "sets that overlap",
      { ranges: [[{ subnet: "10.1.0.0/16" }], [{ subnet: "10.1.2.0/24" }]] },
      "ipam.ranges",
    ],
    ["a bad subnet", { subnet: "10.1.2.0" }, "ipam.subnet"],
    [
      "a bad range in the list",
      { ranges: [[{ subnet: "10.1.2.0/24", gateway: "x" }]] },
      "ipam.ranges[0][0].gateway",
    ],
    ["a route without destination", { ...subnet, routes: [{ gw: "10.1.2.1" }] }, "ipam.routes[0].dst"],
    [
      "a route with a bad scope",
      { ...subnet, routes: [{ dst: "0.0.0.0/0", scope: 256 }] },
      "ipam.routes[0].scope",
    ],
    ["a resolvConf that is no text", { ...subnet, resolvConf: 1 }, "ipam.resolvConf"],
  ])("with %s is refused by name", async (_, ipam, field) => {
    using data = makeDataDir();
    const v = at(data, ipam);
    const wanted = { code: "config/invalid", detail: { field } };
    expect(await failure(v.add(a))).toMatchObject(wanted);
    expect(await failure(v.check(a, emptyResult))).toMatchObject(wanted);
    expect(await failure(v.status())).toMatchObject(wanted);
    expect(existsSync(join(data.path, "net"))).toBe(false);
  });

  test("without ipam is refused", async () => {
    expect(await failure(verbs(hostLocal, undefined).add(a))).toMatchObject({ detail: { field: "ipam" } });
  });

  test.each(["0.1.0", "0.2.0"] as const)("of version %s has one set a family", async (cniVersion) => {
    using data = makeDataDir();
    const dual = { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]] };
    expect(addresses(await at(data, dual, { cniVersion }).add(a))).toHaveLength(2);
    const two = { ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "10.1.4.0/24" }]] };
    expect(await failure(at(data, two, { cniVersion }).add(b))).toMatchObject({ code: "config/invalid" });
    expect(addresses(await at(data, two, { cniVersion: "0.3.0" }).add(b))).toHaveLength(2);
  });
});
