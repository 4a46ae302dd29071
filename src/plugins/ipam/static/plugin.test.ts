import { describe, expect, test } from "bun:test";
import { emptyResult, type Result } from "../../../cni/result.ts";
import { versions } from "../../../cni/version.ts";
import { failure, key, type Setup, verbs } from "../../../testing/ipam.ts";
import { staticIpam } from "./plugin.ts";

const a = key("a");
const addresses = [{ address: "10.10.0.1/24", gateway: "10.10.0.254" }, { address: "3ffe:ffff:0:1ff::1/64" }];
const at = (ipam: unknown, setup?: Setup) => verbs(staticIpam, ipam, setup);
const ips = (r: Result): (string | undefined)[][] => r.ips.map((i) => [i.address.text, i.gateway?.text]);

describe("ADD", () => {
  test.each(versions)(
    "gives addresses, routes and DNS of the configuration for version %s",
    async (cniVersion) => {
      const routes = [
        { dst: "0.0.0.0/0" },
        { dst: "192.168.0.0/16", gw: "10.10.5.1", priority: 100 },
        { dst: "192.168.0.0/16", gw: "10.10.5.2" },
        { dst: "::/0", gw: "3ffe:ffff:0::1", table: 9, mtu: 1400, advmss: 1300, scope: 253 },
      ];
      const dns = {
        nameservers: ["8.8.8.8"],
        domain: "example.test",
        search: ["example.test"],
        options: ["ndots:1"],
      };
      const result = await at({ addresses, routes, dns }, { cniVersion }).add(a);
      expect(ips(result)).toEqual([
        ["10.10.0.1/24", "10.10.0.254"],
        ["3ffe:ffff:0:1ff::1/64", undefined],
      ]);
      expect(result.routes.map((r) => ({ ...r, dst: r.dst.text, ...(r.gw && { gw: r.gw.text }) }))).toEqual([
        ...routes.slice(0, 3),
        { dst: "::/0", gw: "3ffe:ffff::1", table: 9, mtu: 1400, advmss: 1300, scope: 253 },
      ]);
      expect(result.dns).toEqual(dns);
      expect(result.interfaces).toEqual([]);
    },
  );

  test("adds the addresses of CNI_ARGS, each with the gateway that its subnet contains", async () => {
    const args = "IP=10.10.0.1/24, 11.11.0.1/24,fd00::5/64;GATEWAY=10.10.0.254,fd00::1, 12.0.0.1";
    expect(ips(await at({}, { args }).add(a))).toEqual([
      ["10.10.0.1/24", "10.10.0.254"],
      ["11.11.0.1/24", undefined],
      ["fd00::5/64", "fd00::1"],
    ]);
    expect(ips(await at({ addresses }, { args: "IP=11.0.0.1/8" }).add(a))).toEqual([
      ["10.10.0.1/24", "10.10.0.254"],
      ["3ffe:ffff:0:1ff::1/64", undefined],
      ["11.0.0.1/8", undefined],
    ]);
  });

  test("gives a GATEWAY of CNI_ARGS to addresses of the configuration too", async () => {
    const args = "GATEWAY=10.10.0.253,3ffe:ffff:0:1ff::ff";
    expect(ips(await at({ addresses }, { args }).add(a))).toEqual([
      ["10.10.0.1/24", "10.10.0.253"],
      ["3ffe:ffff:0:1ff::1/64", "3ffe:ffff:0:1ff::ff"],
    ]);
  });

  test.each<[string, Setup, string[]]>([
    [
      "args.cni.ips",
      { more: { args: { cni: { ips: ["10.2.0.1/24", "fd02::1/64"] } } } },
      ["10.2.0.1/24", "fd02::1/64"],
    ],
    ["runtimeConfig.ips", { more: { runtimeConfig: { ips: ["10.3.0.1/24"] } } }, ["10.3.0.1/24"]],
    [
      "runtimeConfig.ips before args.cni.ips",
      { more: { args: { cni: { ips: ["10.2.0.1/24"] } }, runtimeConfig: { ips: ["10.3.0.1/24"] } } },
      ["10.3.0.1/24"],
    ],
  ])("replaces configuration and CNI_ARGS by %s", async (_, setup, wanted) => {
    const result = await at({ addresses }, { ...setup, args: "IP=10.4.0.1/24;GATEWAY=10.2.0.254" }).add(a);
    expect(ips(result)).toEqual(wanted.map((w) => [w, undefined]));
  });

  test("takes an empty list as none", async () => {
    const more = { args: { cni: { ips: [] } }, runtimeConfig: { ips: null } };
    expect(ips(await at({ addresses }, { more }).add(a))).toHaveLength(2);
  });

  test.each(["0.1.0", "0.2.0"] as const)("has one address a family in version %s", async (cniVersion) => {
    const two = { addresses: [{ address: "10.0.0.1/8" }, { address: "11.0.0.1/8" }] };
    expect(await failure(at(two, { cniVersion }).add(a))).toMatchObject({ code: "config/invalid" });
    expect(ips(await at({ addresses }, { cniVersion }).add(a))).toHaveLength(2);
    const more = { runtimeConfig: { ips: ["10.3.0.1/24"] } };
    expect(ips(await at(two, { cniVersion, more }).add(a))).toHaveLength(1);
  });

  test.each<[string, unknown, Setup, string]>([
    [
      "an address without a length",
      { addresses: [{ address: "10.0.0.1" }] },
      {},
      "ipam.addresses[0].address",
    ],
    ["an address that is missing", { addresses: [addresses[0], {}] }, {}, "ipam.addresses[1].address"],
    [
      "a bad gateway",
      { addresses: [{ address: "10.0.0.1/8", gateway: "x" }] },
      {},
      "ipam.addresses[0].gateway",
    ],
    [
      "a gateway of the other family",
      { addresses: [{ address: "10.0.0.1/8", gateway: "::1" }] },
      {},
      "ipam.addresses[0].gateway",
    ],
    ["a bad route", { routes: [{ dst: "10.0.0.1" }] }, {}, "ipam.routes[0].dst"],
    ["bad DNS", { dns: { nameservers: "8.8.8.8" } }, {}, "ipam.dns.nameservers"],
    [
      "args.cni.ips without a length",
      {},
      { more: { args: { cni: { ips: ["10.0.0.1"] } } } },
      "args.cni.ips[0]",
    ],
    [
      "runtimeConfig.ips without a length",
      {},
      { more: { runtimeConfig: { ips: ["10.0.0.1"] } } },
      "runtimeConfig.ips[0]",
    ],
    ["no ipam, though args are set", undefined, { more: { args: { cni: { ips: ["10.0.0.1/8"] } } } }, "ipam"],
    [
      "no ipam, though runtimeConfig is set",
      undefined,
      { more: { runtimeConfig: { ips: ["10.0.0.1/8"] } } },
      "ipam",
    ],
  ])("refuses %s by name", async (_, ipam, setup, field) => {
    expect(await failure(at(ipam, setup).add(a))).toMatchObject({
      code: "config/invalid",
      detail: { field },
    });
  });

  test.each<[string, string, string]>([
    ["an address without a length", "IP=10.0.0.1", "CNI_ARGS IP"],
    ["a gateway with a length", "GATEWAY=10.0.0.1/8", "CNI_ARGS GATEWAY"],
    ["an unknown key", "NAME=x", "NAME"],
  ])("refuses %s in CNI_ARGS", async (_, args, text) => {
    expect(await failure(at({ addresses }, { args }).add(a))).toMatchObject({
      message: expect.stringContaining(text),
    });
  });

  test("passes over the MAC address in CNI_ARGS, which is for the plugin that asks", async () => {
    const args = "MAC=02:00:00:00:00:01;IP=10.9.0.1/24";
    expect(ips(await at({}, { args }).add(a))).toEqual([["10.9.0.1/24", undefined]]);
  });

  test("passes over unknown keys in CNI_ARGS when told", async () => {
    const args = "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.9.0.1/24";
    expect(ips(await at({}, { args }).add(a))).toEqual([["10.9.0.1/24", undefined]]);
  });
});

test("DEL and GC succeed whatever the configuration says", async () => {
  for (const ipam of [{ addresses }, { addresses: "rubbish" }, undefined]) {
    const v = at(ipam, { args: "rubbish" });
    await v.del(a);
    await v.del(a);
    await v.gc([]);
  }
});

test("STATUS reports a configuration that cannot work", async () => {
  await at({ addresses }).status();
  expect(await failure(at({ addresses: [{}] }).status())).toMatchObject({ code: "config/invalid" });
});

describe("CHECK", () => {
  test("passes for the result of ADD, also when others added to it", async () => {
    const v = at({ addresses });
    const result = await v.add(a);
    await v.check(a, result);
    const more = await at({ addresses: [{ address: "10.99.0.1/24" }] }).add(a);
    await v.check(a, { ...result, ips: [...more.ips, ...result.ips] });
  });

  test("leaves a gateway alone that nobody asked for", async () => {
    const plain = at({ addresses: [{ address: "10.10.0.1/24" }] });
    await plain.check(a, await at({ addresses: [addresses[0]] }).add(a));
  });

  test.each<[string, object[]]>([
    ["an address is missing", [{ address: "3ffe:ffff:0:1ff::1/64" }]],
    ["its length differs", [{ address: "10.10.0.1/16", gateway: "10.10.0.254" }, addresses[1] ?? {}]],
    ["its gateway differs", [{ address: "10.10.0.1/24", gateway: "10.10.0.253" }, addresses[1] ?? {}]],
    ["its gateway is missing", [{ address: "10.10.0.1/24" }, addresses[1] ?? {}]],
  ])("fails when %s", async (_, found) => {
    const prev = await at({ addresses: found }).add(a);
    expect(await failure(at({ addresses }).check(a, prev))).toMatchObject({ code: "check/differs" });
  });

  test("fails when prevResult is empty", async () => {
    expect(await failure(at({ addresses }).check(a, emptyResult))).toMatchObject({ code: "check/differs" });
    expect(await failure(at({ addresses }).check(a))).toMatchObject({ code: "check/differs" });
  });
});
