/** What Docker sends, read: the forms of several releases, and everything that is refused with what to do about it. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import {
  askedName,
  readCreateEndpoint,
  readCreateNetwork,
  readJoin,
  readProgramExternal,
  readRequestAddress,
  readRequestPool,
  unknownOptions,
  withMac,
} from "./requests.ts";
import { mac } from "../testing/plan.ts";

const ID = "ab".repeat(32);
const GENERIC = "com.docker.network.generic";
const PORTMAP = "com.docker.network.portmap";
const BRIDGE = "com.docker.network.bridge";
const request = (options: object = {}, more: object = {}) => ({
  NetworkID: ID,
  Options: { [GENERIC]: options, "com.docker.network.enable_ipv6": false },
  IPv4Data: [{ AddressSpace: "x", Pool: "10.7.0.0/24", Gateway: "10.7.0.1/24", AuxAddresses: null }],
  IPv6Data: null,
  ...more,
});
const network = (options?: object, more?: object) => readCreateNetwork(request(options, more), "");

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (e) {
    if (e instanceof NetError && e.is("config/invalid")) return e.message;
    throw e;
  }
  throw new Error("nothing was refused");
}

describe("a network", () => {
  test("without options is a bridge that is named by its ID", () => {
    expect(network()).toMatchObject({
      mode: "bridge",
      bridge: "br-abababababab",
      internal: false,
      masquerade: true,
      betweenContainers: true,
      prefix: "eth",
      routes: [],
      subnets: [{ pool: { text: "10.7.0.0/24" }, gateway: { text: "10.7.0.1/24" } }],
    });
  });

  test("takes the options of Docker's own bridge, as texts", () => {
    const options = {
      [`${BRIDGE}.name`]: "web0",
      [`${BRIDGE}.enable_ip_masquerade`]: "false",
      [`${BRIDGE}.enable_icc`]: "0",
      [`${BRIDGE}.host_binding_ipv4`]: "192.0.2.1",
      "com.docker.network.driver.mtu": "1400",
      "com.docker.network.container_iface_prefix": "web",
      routes: "10.5.0.0/16 via 10.7.0.254, 10.6.0.0/16",
    };
    expect(network(options)).toMatchObject({
      bridge: "web0",
      masquerade: false,
      betweenContainers: false,
      hostBinding: { text: "192.0.2.1" },
      mtuBytes: 1400,
      prefix: "web",
      routes: [
        { dst: { text: "10.5.0.0/16" }, gateway: { text: "10.7.0.254" } },
        { dst: { text: "10.6.0.0/16" } },
      ],
    });
  });

  test("of the other modes hangs on its parent", () => {
    expect(network({ mode: "macvlan", parent: "eth1" })).toMatchObject({ parent: "eth1", kind: "bridge" });
    expect(network({ mode: "ipvlan", parent: "eth1", ipvlan_mode: "l3" })).toMatchObject({ kind: "l3" });
    expect(network({ mode: "vlan", parent: "eth1", vlan: "100" })).toMatchObject({
      vlan: 100,
      link: "eth1.100",
    });
    expect(network({ mode: "vlan", parent: "enp129s0f1np1", vlan: "4094" })).toMatchObject({
      link: "enp129s0f1.4094",
    });
  });

  test("has no subnet where the IPAM driver gives none, and as many as it gives", () => {
    expect(network({}, { IPv4Data: [{ Pool: "0.0.0.0/0", Gateway: "" }] }).subnets).toEqual([]);
    const six = [{ Pool: "fd07::/64", Gateway: "fd07::1/64" }, { Pool: "fd08::/64" }];
    expect(network({}, { IPv6Data: six }).subnets.map(({ pool }) => pool.text)).toEqual([
      "10.7.0.0/24",
      "fd07::/64",
      "fd08::/64",
    ]);
  });

  test("is internal if Docker says so", () => {
    expect(network({}, { Options: { "com.docker.network.internal": true } }).internal).toBe(true);
  });

  test.each([
    ["an unknown option", { colour: "red" }, "is no option of mode bridge; those are mode, routes"],
    ["an option of another mode", { parent: "eth0" }, "is no option of mode bridge"],
    ["a mode that there is not", { mode: "overlay" }, "is not one of bridge, macvlan, ipvlan, vlan"],
    ["a mode without its parent", { mode: "macvlan" }, "parent: is missing"],
    ["a VLAN without its number", { mode: "vlan", parent: "eth0" }, "say -o vlan=ID"],
    ["a VLAN of 4095", { mode: "vlan", parent: "eth0", vlan: "4095" }, "4095 is not within 1 and 4094"],
    ["a VLAN of words", { mode: "vlan", parent: "eth0", vlan: "ten" }, "must be a whole number"],
    ["a bridge whose name is too long", { [`${BRIDGE}.name`]: "b".repeat(16) }, "longer than 15 bytes"],
    [
      "a prefix whose name is too long",
      { "com.docker.network.container_iface_prefix": "e".repeat(13) },
      "12 char",
    ],
    ["neither true nor false", { [`${BRIDGE}.enable_icc`]: "maybe" }, "neither true nor false"],
    ["an MTU of 67", { "com.docker.network.driver.mtu": "67" }, "less than 68"],
    ["an MTU that is negative", { "com.docker.network.driver.mtu": "-1" }, "must be a whole number"],
    ["a route that says nothing", { routes: "10.5.0.0/16 via" }, 'is not "DESTINATION via GATEWAY"'],
    ["a route of words", { routes: "somewhere via 10.7.0.1" }, "is not an address with a prefix length"],
    ["a route of two families", { routes: "fd00::/64 via 10.7.0.1" }, "mixes IPv4 and IPv6"],
    ["a gateway out of reach", { routes: "10.5.0.0/16 via 10.8.0.1" }, "is in no subnet of the network"],
    ["too many routes", { routes: Array(65).fill("10.5.0.0/16").join(",") }, "there may be 64"],
    ["an option that is an object", { mode: {} }, "must be a string"],
  ])("is refused with %s", (_, options, why) => {
    expect(refusal(() => network(options))).toContain(why);
  });

  test.each([
    ["no ID", { NetworkID: undefined }, "NetworkID: is missing"],
    ["an ID that is a path", { NetworkID: "../../etc" }, "NetworkID: must be 1 to 128 letters"],
    ["a subnet of words", { IPv4Data: [{ Pool: "ten" }] }, "IPv4Data[0].Pool"],
    [
      "a gateway elsewhere",
      { IPv4Data: [{ Pool: "10.7.0.0/24", Gateway: "10.8.0.1/24" }] },
      "is not in 10.7.0.0/24",
    ],
    [
      "too many subnets",
      { IPv4Data: Array.from({ length: 65 }, () => ({ Pool: "10.7.0.0/24" })) },
      "has 65 items",
    ],
  ])("is refused with %s", (_, more, why) => {
    expect(refusal(() => network({}, more))).toContain(why);
  });
});

const endpoint = (face: object, options: object = {}) =>
  readCreateEndpoint({ NetworkID: ID, EndpointID: "e1", Interface: face, Options: options }, "");
const binding = (more: object) => ({
  Proto: 6,
  IP: "",
  Port: 80,
  HostIP: "",
  HostPort: 0,
  HostPortEnd: 0,
  ...more,
});

describe("an endpoint", () => {
  test("has the addresses that Docker gives, and the MAC address that was drawn", () => {
    const raw = {
      NetworkID: ID,
      EndpointID: "e1",
      Interface: { Address: "10.7.0.2/24", AddressIPv6: "fd07::2/64" },
    };
    const read = readCreateEndpoint(withMac(raw, mac("02:00:00:00:00:09")), "");
    expect(read.addresses.map((a) => a.text)).toEqual(["10.7.0.2/24", "fd07::2/64"]);
    expect(read.mac).toBe(mac("02:00:00:00:00:09"));
    expect(endpoint({ Address: "", AddressIPv6: "", MacAddress: "" })).toEqual({
      networkId: ID,
      id: "e1",
      addresses: [],
      asked: [],
    });
  });

  test("asks for ports, of which a range may be taken from", () => {
    const ports = [
      binding({ HostPort: 8080, HostPortEnd: 8090 }),
      binding({ Proto: 17, HostIP: "192.0.2.1" }),
    ];
    expect(endpoint({}, { [PORTMAP]: ports }).asked).toMatchObject([
      { protocol: "tcp", containerPort: 80, hostPort: 8080, hostPortEnd: 8090 },
      { protocol: "udp", containerPort: 80, hostPort: 0, hostPortEnd: 0, hostIp: { text: "192.0.2.1" } },
    ]);
    const said = { NetworkID: ID, EndpointID: "e1", Options: { [PORTMAP]: ports } };
    expect(readProgramExternal(said, "").asked).toHaveLength(2);
    expect(readProgramExternal({ ...said, Options: null }, "").asked).toBeUndefined();
  });

  test.each([
    ["an address of the other family", { Address: "fd07::2/64" }, {}, "is not IPv4"],
    ["an IPv6 address of the other family", { AddressIPv6: "10.7.0.2/24" }, {}, "is not IPv6"],
    ["an address without a length", { Address: "10.7.0.2" }, {}, "Interface.Address"],
    ["a MAC address of many", { MacAddress: "01:00:5e:00:00:01" }, {}, "no address of a single link"],
    ["a MAC address of words", { MacAddress: "mine" }, {}, "is not six hex pairs"],
    [
      "a protocol without ports",
      {},
      { [PORTMAP]: [binding({ Proto: 1 })] },
      "use tcp (6), udp (17) or sctp (132)",
    ],
    ["a port of nothing", {}, { [PORTMAP]: [binding({ Port: 0 })] }, "Port: is missing"],
    [
      "a port that there is not",
      {},
      { [PORTMAP]: [binding({ Port: 65536 })] },
      "65536 is not within 0 and 65535",
    ],
    [
      "a range backwards",
      {},
      { [PORTMAP]: [binding({ HostPort: 9, HostPortEnd: 8 })] },
      "8 is less than HostPort",
    ],
    ["ports that are none", {}, { [PORTMAP]: "80" }, "must be a list"],
    ["too many ports", {}, { [PORTMAP]: Array(4097).fill(binding({})) }, "there may be 4096"],
  ])("is refused with %s", (_, face, options, why) => {
    expect(refusal(() => endpoint(face, options))).toContain(why);
  });
});

describe("options of an endpoint", () => {
  const IFNAME = "com.docker.network.endpoint.ifname";
  const of = (options: object | null) => ({ NetworkID: "n", EndpointID: "e", Options: options });

  test("name its interface", () => {
    expect(askedName(of({ [IFNAME]: "lan0" })) as string).toBe("lan0");
    for (const none of [of(null), of({}), of({ [IFNAME]: "" }), {}]) expect(askedName(none)).toBeUndefined();
  });

  test("that Docker sees to itself are left to it, and others of Docker's are told", () => {
    const known = {
      [PORTMAP]: [],
      "com.docker.network.endpoint.exposedports": [],
      "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1",
    };
    expect(unknownOptions(of({ ...known, [IFNAME]: "lan0" }))).toEqual([]);
    expect(unknownOptions(of({ ...known, "com.docker.network.new": 1 }))).toEqual(["com.docker.network.new"]);
  });

  test.each([
    ["of nobody", { mode: "macvlan" }, "Options.mode: is no option of an endpoint"],
    ["that is no interface's name", { [IFNAME]: "a/b" }, IFNAME],
  ])("%s are refused", (_, options, why) => {
    expect(() => unknownOptions(of(options))).toThrow(why);
  });
});

describe("the namespace that a container joins", () => {
  const ids = { NetworkID: "n", EndpointID: "e" };

  test("is a path, or nothing", () => {
    const SandboxKey = "/var/run/docker/netns/0123456789ab";
    expect(readJoin({ ...ids, SandboxKey }, "")).toEqual({ ...ids, SandboxKey });
    for (const none of [{}, { SandboxKey: "" }])
      expect(readJoin({ ...ids, ...none }, "").SandboxKey).toBeUndefined();
  });

  test.each(["netns/x", "/x\0y", `/${"x".repeat(4095)}`, 7])("is not %j", (SandboxKey) => {
    expect(() => readJoin({ ...ids, SandboxKey }, "")).toThrow("SandboxKey");
  });
});

describe("what is asked of the IPAM driver", () => {
  test("may be empty texts for nothing, as Go writes them", () => {
    const pool = { AddressSpace: "", Pool: "", SubPool: "", Options: null, V6: false };
    expect(readRequestPool(pool, "")).toEqual({ AddressSpace: "", Options: {}, V6: false });
    expect(readRequestAddress({ PoolID: "p", Address: "", Options: null }, "")).toEqual({
      PoolID: "p",
      Options: {},
    });
  });

  test.each([
    ["a pool of words", () => readRequestPool({ Pool: "ten" }, ""), "Pool"],
    [
      "an address with a length",
      () => readRequestAddress({ PoolID: "p", Address: "10.7.0.2/24" }, ""),
      "Address",
    ],
    ["no pool", () => readRequestAddress({ Address: "" }, ""), "PoolID: is missing"],
    ["a name that is too long", () => readRequestAddress({ PoolID: "p".repeat(257) }, ""), "longer than 256"],
  ])("is refused with %s", (_, work, why) => {
    expect(refusal(work)).toContain(why);
  });
});
