import { describe, expect, test } from "bun:test";
import { printResult } from "../../../cni/result-codec.ts";
import type { Terms4, Terms6 } from "../../../dhcp/model.ts";
import { resultOf } from "./result.ts";

const four: Terms4 = {
  family: 4,
  address: "10.0.0.5/24",
  server: "10.0.0.1",
  serverMac: "02:00:00:00:00:01",
  routers: ["10.0.0.1", "10.0.0.2"],
  staticRoutes: [],
  nameservers: [],
  search: [],
  timeServers: [],
  leaseSeconds: 60,
  renewSeconds: 30,
  rebindSeconds: 50,
};
const six: Terms6 = {
  family: 6,
  address: "fd00::5/128",
  server: "00",
  nameservers: ["fd00::53"],
  search: ["b.test"],
  leaseSeconds: 60,
  renewSeconds: 30,
  rebindSeconds: 50,
};
const printed = (...parameters: Parameters<typeof resultOf>): Record<string, unknown> =>
  JSON.parse(printResult(resultOf(...parameters), "1.1.0")) as Record<string, unknown>;

describe("the result", () => {
  test("has the address, and a default route through the first router", () => {
    expect(printed([four])).toMatchObject({
      ips: [{ address: "10.0.0.5/24", gateway: "10.0.0.1" }],
      routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }],
    });
  });

  test("has no gateway and no route without a router", () => {
    const { ips, routes } = printed([{ ...four, routers: [] }]);
    expect(ips).toEqual([{ address: "10.0.0.5/24" }]);
    expect(routes).toBeUndefined();
  });

  test("has the static routes before the default route", () => {
    const staticRoutes = [{ dst: "192.168.0.0/24", gw: "10.0.0.9" }];
    expect(printed([{ ...four, staticRoutes }])["routes"]).toEqual([
      { dst: "192.168.0.0/24", gw: "10.0.0.9" },
      { dst: "0.0.0.0/0", gw: "10.0.0.1" },
    ]);
  });

  test("has the routes of option 121 and no others, those without a router on the link", () => {
    const staticRoutes = [{ dst: "192.168.0.0/24", gw: "10.0.0.9" }];
    const classlessRoutes = [{ dst: "172.16.0.0/12" }, { dst: "0.0.0.0/0", gw: "10.0.0.7" }];
    expect(printed([{ ...four, staticRoutes, classlessRoutes }])).toMatchObject({
      ips: [{ address: "10.0.0.5/24", gateway: "10.0.0.7" }],
      routes: [
        { dst: "172.16.0.0/12", scope: 253 },
        { dst: "0.0.0.0/0", gw: "10.0.0.7" },
      ],
    });
    // Not option 3's either: a route without a router would be given that as its gateway.
    expect(printed([{ ...four, classlessRoutes: [{ dst: "172.16.0.0/12" }] }])["ips"]).toEqual([
      { address: "10.0.0.5/24" },
    ]);
  });

  test("has the metric and the MTU on every route", () => {
    expect(printed([{ ...four, mtu: 1400 }], 7)["routes"]).toEqual([
      { dst: "0.0.0.0/0", gw: "10.0.0.1", mtu: 1400, priority: 7 },
    ]);
  });

  test("has DNS of both families, each server once", () => {
    const both = { nameservers: ["10.0.0.53", "fd00::53"], domain: "a.test", search: ["a.test", "b.test"] };
    expect(printed([{ ...four, ...both }, six])).toMatchObject({
      dns: both,
      ips: [{}, { address: "fd00::5/128" }],
    });
  });

  test("has no route for IPv6: routers announce it", () => {
    expect(printed([six])["routes"]).toBeUndefined();
  });
});
