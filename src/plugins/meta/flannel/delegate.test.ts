import { describe, expect, test } from "bun:test";
import type { NetConf } from "../../../cni/plugin.ts";
import { isNetError } from "../../../errors.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { delegateOf } from "./delegate.ts";
import { parseSubnetEnv } from "./subnet-env.ts";

type Json = Readonly<Record<string, unknown>>;
const conf = (more: Json): NetConf => {
  const common = { cniVersion: "1.1.0", name: "net", type: "flannel" } as const;
  return { ...common, raw: { ...common, ...more } };
};
const V4 =
  "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
const V6 = "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:7::1/64\n";

const given = (more: Json, file = V4): Json => {
  const c = conf(more);
  return delegateOf(c, parseConfig(c), parseSubnetEnv(file, "subnet.env")).raw;
};

describe("what the delegate is given", () => {
  test("is a bridge with the host's subnet", () => {
    expect(given({})).toEqual({
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      mtu: 1472,
      ipMasq: false,
      isGateway: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.1.17.0/24" }]], routes: [{ dst: "10.1.0.0/16" }] },
    });
  });

  test("masquerades if the daemon does not", () => {
    expect(given({}, V4.replace("true", "false"))).toMatchObject({ ipMasq: true });
  });

  test("has both families, or one, and a route to each network", () => {
    const list = V4.replace("10.1.0.0/16", "10.1.0.0/16,10.2.0.0/16");
    expect(given({}, list + V6)["ipam"]).toEqual({
      type: "host-local",
      ranges: [[{ subnet: "10.1.17.0/24" }], [{ subnet: "fd00:0:0:7::/64" }]],
      routes: [{ dst: "10.1.0.0/16" }, { dst: "10.2.0.0/16" }, { dst: "fd00::/48" }],
    });
    expect(given({}, `${V6}FLANNEL_MTU=1400\nFLANNEL_IPMASQ=false`)["ipam"]).toEqual({
      type: "host-local",
      ranges: [[{ subnet: "fd00:0:0:7::/64" }]],
      routes: [{ dst: "fd00::/48" }],
    });
  });

  test("keeps what the configuration says, in any case of its keys", () => {
    const delegate = {
      type: "bridge",
      Bridge: "mynet0",
      MTU: 1400,
      ISGATEWAY: false,
      ipmasq: true,
      own: [1],
    };
    expect(given({ delegate })).toEqual({
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      Bridge: "mynet0",
      MTU: 1400,
      ISGATEWAY: false,
      ipmasq: true,
      own: [1],
      ipam: { type: "host-local", ranges: [[{ subnet: "10.1.17.0/24" }]], routes: [{ dst: "10.1.0.0/16" }] },
    });
  });

  test("is no gateway if it is no bridge", () => {
    const raw = given({ delegate: { type: "ipvlan", master: "eth0" } });
    expect(raw).toMatchObject({ type: "ipvlan", master: "eth0", mtu: 1472, ipMasq: false });
    expect(raw).not.toHaveProperty("isGateway");
  });

  test("begins with the ipam of the configuration, whose ranges give way", () => {
    const ipam = {
      type: "custom",
      dataDir: "/d",
      Ranges: [[{ subnet: "10.9.0.0/24" }]],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.17.1" }],
    };
    expect(given({ ipam })["ipam"]).toEqual({
      type: "custom",
      dataDir: "/d",
      ranges: [[{ subnet: "10.1.17.0/24" }]],
      routes: [{ dst: "0.0.0.0/0", gw: "10.1.17.1" }, { dst: "10.1.0.0/16" }],
    });
  });

  test("has the capability arguments and args of the entry", () => {
    const runtimeConfig = { mac: "02:00:00:00:00:01", ips: ["10.1.17.9"] };
    expect(
      given({ runtimeConfig, args: { cni: { x: 1 } }, delegate: { runtimeConfig: { mac: "old" } } }),
    ).toMatchObject({
      runtimeConfig,
      args: { cni: { x: 1 } },
    });
    expect(given({ args: { cni: { x: 1 } }, delegate: { args: { own: 1 } } })["args"]).toEqual({ own: 1 });
    expect(given({})).not.toHaveProperty("runtimeConfig");
  });

  test("is what is known without the file, for removal", () => {
    const c = conf({ ipam: { dataDir: "/d" } });
    expect(delegateOf(c, parseConfig(c), undefined).raw).toEqual({
      cniVersion: "1.1.0",
      name: "net",
      type: "bridge",
      isGateway: true,
      ipam: { dataDir: "/d", type: "host-local" },
    });
  });
});

describe("a configuration", () => {
  test.each<[string, Json, string]>([
    ["whose delegate has a name", { delegate: { Name: "x" } }, "delegate.name: cannot be set"],
    ["whose delegate has an ipam", { delegate: { ipam: {} } }, "delegate.ipam: cannot be set"],
    ["whose delegate has a type that is none", { delegate: { type: 7 } }, "delegate.type: must be a string"],
    ["whose delegate has an empty type", { delegate: { type: "" } }, "delegate.type: names no plugin"],
    [
      "that delegates to itself",
      { delegate: { type: "flannel" } },
      "delegate.type: flannel cannot be its own delegate",
    ],
    ["whose delegate is a word", { delegate: "bridge" }, "delegate: must be an object"],
    ["whose routes are a word", { ipam: { routes: "x" } }, "ipam.routes: must be a list"],
    ["whose routes are words", { ipam: { routes: ["x"] } }, "ipam.routes[0]: must be an object"],
    ["whose ipam has a type that is none", { ipam: { type: 1 } }, "ipam.type: must be a string"],
    [
      "with a relative file",
      { subnetFile: "subnet.env" },
      'subnetFile: "subnet.env" is not an absolute path',
    ],
    ["with a relative folder", { dataDir: "../d" }, 'dataDir: "../d" is not an absolute path'],
    ["with a zero byte in a path", { dataDir: "/a\0b" }, "dataDir: "],
  ])("%s is refused, and can still be removed by", (_what, more, why) => {
    try {
      parseConfig(conf(more));
      throw new Error("accepted");
    } catch (e) {
      if (!isNetError(e, "config/invalid")) throw e;
      expect(e.message).toStartWith(why);
    }
    expect(parseForRemoval(conf(more))).toMatchObject({
      type: "bridge",
      subnetFile: "/run/flannel/subnet.env",
      dataDir: "/var/lib/cni/flannel",
    });
  });

  test("has defaults, also for empty paths", () => {
    const defaults = {
      subnetFile: "/run/flannel/subnet.env",
      dataDir: "/var/lib/cni/flannel",
      type: "bridge",
      delegate: {},
      ipam: {},
    };
    expect(parseConfig(conf({}))).toEqual(defaults);
    expect(parseConfig(conf({ subnetFile: "", dataDir: "" }))).toEqual(defaults);
    expect(parseForRemoval(conf({}))).toEqual(defaults);
  });
});
