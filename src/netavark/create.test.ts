/** New networks of Podman's: what is filled in, and what is refused with what to do about it. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { cidr } from "../testing/address.ts";
import { createNetwork, type HostView } from "./create.ts";

const ID = "ab".repeat(32);
const host = (inUse: readonly string[] = [], uplink?: string): HostView => ({
  uplink: () => uplink,
  inUse: () => inUse.map(cidr),
  random: () => Uint8Array.of(0xaa, 1, 2, 3, 4, 5, 6, 7),
});
/** As Podman 5 sends it. */
const sent = (options: object = {}, more: object = {}) => ({
  name: "web",
  id: ID,
  driver: "heddle",
  ipv6_enabled: false,
  internal: false,
  dns_enabled: true,
  created: "0001-01-01T00:00:00Z",
  labels: { a: "b" },
  options,
  ipam_options: {},
  ...more,
});
const subnets = (...texts: readonly string[]) => ({ subnets: texts.map((subnet) => ({ subnet })) });
const create = (options?: object, more?: object, view = host()) => createNetwork(sent(options, more), view);
const refusal = (...words: Parameters<typeof create>): string => {
  try {
    create(...words);
  } catch (e) {
    if (e instanceof NetError && e.is("config/invalid")) return e.message;
    throw e;
  }
  throw new Error("nothing was refused");
};

describe("a new network", () => {
  test("gets a bridge that is named by its ID, a free subnet and no names, and keeps everything else", () => {
    const view = host(["0.0.0.0/0", "10.213.0.0/24", "10.0.0.0/16"]);
    expect(create({}, {}, view)).toEqual({
      ...sent(),
      network_interface: "br-abababababab",
      subnets: [{ subnet: "10.213.1.0/24" }],
      ipam_options: { driver: "host-local" },
      dns_enabled: false,
    });
  });

  test("keeps the subnets that it names, with everything in them", () => {
    const given = {
      subnets: [{ subnet: "10.7.0.0/24", gateway: "10.7.0.254", lease_range: { start_ip: "10.7.0.9" } }],
    };
    expect(create({}, given)["subnets"]).toEqual(given.subnets);
  });

  test("has both families if IPv6 is asked for, whichever it names", () => {
    const six = { subnet: "fd01:203:405:607::/64" };
    const four = { subnet: "10.213.0.0/24" };
    const both = { ipv6_enabled: true };
    expect(create({}, both)["subnets"]).toEqual([four, six]);
    expect(create({}, { ...both, ...subnets("10.7.0.0/24") })["subnets"]).toEqual([
      { subnet: "10.7.0.0/24" },
      six,
    ]);
    expect(create({}, { ...both, ...subnets("fd07::/64") })["subnets"]).toEqual([
      { subnet: "fd07::/64" },
      four,
    ]);
  });

  test("has no subnet if nobody gives out addresses", () => {
    expect(create({}, { ipam_options: { driver: "none" } })).toMatchObject({
      subnets: [],
      ipam_options: { driver: "none" },
    });
  });

  test("takes the interface that it names, or that its options name", () => {
    expect(create({}, { network_interface: "web0" })["network_interface"]).toBe("web0");
    expect(create({ "com.docker.network.bridge.name": "web0" })["network_interface"]).toBe("web0");
    expect(create({ mode: "macvlan", parent: "eth1" })["network_interface"]).toBe("eth1");
  });

  test("on a parent asks its DHCP server for addresses unless it has a subnet, on the uplink unless told", () => {
    const view = host([], "eth0");
    const dhcp = { network_interface: "eth0", ipam_options: { driver: "dhcp" }, subnets: [] };
    expect(create({ mode: "macvlan" }, {}, view)).toMatchObject(dhcp);
    expect(create({ mode: "vlan", vlan: "7" }, {}, view)).toMatchObject(dhcp);
    expect(create({ mode: "ipvlan" }, subnets("10.7.0.0/24"), view)).toMatchObject({
      network_interface: "eth0",
      ipam_options: { driver: "host-local" },
    });
  });
});

describe("a new network is refused", () => {
  const refused: Readonly<Record<string, [string, ...Parameters<typeof create>]>> = {
    "with an unknown option": [
      "options.bogus: is no option of mode bridge; those are mode, mtu",
      { bogus: "1" },
    ],
    "with an option of another mode": ["options.parent: is no option of mode bridge", { parent: "eth0" }],
    "with a mode that there is not": ['options.mode: "overlay" is not one of', { mode: "overlay" }],
    "with an MTU that is too small": ["options.mtu: 12 is less than 68", { mtu: "12" }],
    "with an MTU of words": ["options.mtu: must be a whole number", { mtu: "large" }],
    "with a metric that is too large": ["options.metric: 4294967296 is not within", { metric: "4294967296" }],
    "with a truth that is none": ['options.isolate: "maybe" is neither true nor false', { isolate: "maybe" }],
    "with strict isolation": ["options.isolate: is true or false", { isolate: "strict" }],
    "without a VLAN in mode vlan": [
      "options.vlan: is missing",
      { mode: "vlan", parent: "eth0" },
      subnets("10.7.0.0/24"),
    ],
    "without a parent on a host without a default route": [
      "options.parent: is missing, and the host has no default route",
      { mode: "macvlan" },
    ],
    "with two names for its interface": [
      "network_interface: is eth0, and the options name eth1",
      { mode: "macvlan", parent: "eth1" },
      { network_interface: "eth0" },
    ],
    "without a subnet in mode ipvlan": ["subnets: are missing", { mode: "ipvlan", parent: "eth0" }],
    "with DHCP on a bridge": [
      "ipam_options.driver: dhcp is for the modes macvlan and vlan",
      {},
      { ipam_options: { driver: "dhcp" } },
    ],
    "with DHCP and a subnet": [
      "subnets: there are none with --ipam-driver dhcp",
      { mode: "macvlan", parent: "eth0" },
      { ipam_options: { driver: "dhcp" }, ...subnets("10.7.0.0/24") },
    ],
    "with servers for names": [
      "network_dns_servers: nobody answers",
      {},
      { network_dns_servers: ["1.1.1.1"] },
    ],
    "with a gateway elsewhere": [
      "subnets[0].gateway: 10.8.0.1 is not in 10.7.0.0/24",
      {},
      { subnets: [{ subnet: "10.7.0.0/24", gateway: "10.8.0.1" }] },
    ],
    "with a route of another type": [
      'routes[0].route_type: "blackhole" is not offered',
      {},
      { routes: [{ destination: "10.9.0.0/16", route_type: "blackhole" }] },
    ],
    "with a route of two families": [
      "routes[0]: 10.9.0.0/16 via fd00::1 mixes",
      {},
      { routes: [{ destination: "10.9.0.0/16", gateway: "fd00::1" }] },
    ],
    "with a subnet that the host reaches": [
      "subnets[1].subnet: 10.8.0.0/25 overlaps 10.8.0.0/16",
      {},
      subnets("10.7.0.0/24", "10.8.0.0/25"),
      host(["0.0.0.0/0", "10.8.0.0/16"]),
    ],
  };
  test.each(Object.entries(refused))("%s", (_, [why, ...words]) => {
    expect(refusal(...words)).toContain(why);
  });
});
