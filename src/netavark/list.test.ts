/** A container on a network of Podman's, as a list for our runtime. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { readConnection } from "./decode.ts";
import { attachmentOf, listOf, PORTS, requireAddresses } from "./list.ts";

const ID = "ab".repeat(32);
interface More {
  readonly network?: object;
  readonly options?: object;
  readonly container?: object;
  readonly ports?: readonly object[];
}
/** As netavark sends it. */
const connection = ({ network = {}, options = {}, container = {}, ports = [] }: More = {}) =>
  readConnection(
    {
      container_id: "c1",
      container_name: "one",
      port_mappings: ports,
      network: {
        name: "web",
        id: ID,
        driver: "heddle",
        network_interface: "web0",
        subnets: [{ subnet: "10.7.0.0/24", gateway: "10.7.0.1", lease_range: null }],
        ipv6_enabled: false,
        internal: false,
        dns_enabled: false,
        ipam_options: { driver: "host-local" },
        options,
        routes: null,
        network_dns_servers: null,
        ...network,
      },
      network_options: { interface_name: "eth0", static_ips: ["10.7.0.5"], static_mac: null, ...container },
    },
    "",
  );
const plugins = (more?: More) => listOf(connection(more)).plugins.map(({ raw }) => raw);
const first = (more?: More) => plugins(more)[0];
const args = (more?: More) => attachmentOf(connection(more), "/run/netns/x").capabilityArgs;
const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (e) {
    if (e instanceof NetError && e.is("config/invalid")) return e.message;
    throw e;
  }
  throw new Error("nothing was refused");
};
const DUAL: More = {
  network: {
    subnets: [
      { subnet: "10.7.0.0/24", gateway: "10.7.0.1" },
      { subnet: "fd07::/64", gateway: "fd07::1" },
    ],
  },
  container: { static_ips: ["10.7.0.5", "fd07::5"] },
};

describe("a container on a bridge", () => {
  test("gets the address that Podman has reserved, a default route, host ports and a way through firewalls", () => {
    expect(listOf(connection())).toMatchObject({ name: "web", cniVersion: "1.1.0" });
    expect(plugins()).toEqual([
      {
        type: "bridge",
        bridge: "web0",
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        portIsolation: false,
        capabilities: { mac: true },
        ipam: {
          type: "static",
          addresses: [{ address: "10.7.0.5/24", gateway: "10.7.0.1" }],
          routes: [{ dst: "0.0.0.0/0", gw: "10.7.0.1", priority: 100 }],
        },
      },
      { type: "portmap", capabilities: { portMappings: true } },
      { type: "firewall", ingressPolicy: "open" },
    ]);
    expect(attachmentOf(connection(), "/run/netns/x")).toEqual({
      containerId: "c1",
      ifname: "eth0",
      netns: "/run/netns/x",
      capabilityArgs: {},
    });
  });

  test("prefers its first interface of each family, unless the network says more", () => {
    const routes = (more: More) => first(more)?.["ipam"];
    expect(routes({ ...DUAL, container: { ...DUAL.container, interface_name: "eth3" } })).toMatchObject({
      routes: [
        { dst: "0.0.0.0/0", gw: "10.7.0.1", priority: 103 },
        { dst: "::/0", gw: "fd07::1", priority: 103 },
      ],
    });
    expect(routes({ options: { metric: "7" } })).toMatchObject({ routes: [{ priority: 7 }] });
    expect(routes({ options: { no_default_route: "true" } })).toMatchObject({ routes: [] });
    const more = [{ destination: "10.9.0.0/16", gateway: "10.7.0.9", metric: 50 }];
    expect(routes({ options: { no_default_route: "true" }, network: { routes: more } })).toMatchObject({
      routes: [{ dst: "10.9.0.0/16", gw: "10.7.0.9", priority: 50 }],
    });
  });

  test("has what the options say", () => {
    const options = {
      mtu: "1400",
      isolate: "true",
      "com.docker.network.bridge.enable_ip_masquerade": "false",
      "com.docker.network.bridge.enable_icc": "false",
    };
    expect(plugins({ options })).toMatchObject([
      { mtu: 1400, ipMasq: false, portIsolation: true },
      {},
      { ingressPolicy: "same-bridge" },
    ]);
  });

  test("has no way out of an internal network, and no ports", () => {
    const more: More = { network: { internal: true }, ports: [{ container_port: 80, host_port: 8080 }] };
    expect(plugins(more)).toMatchObject([
      {
        isGateway: false,
        ipMasq: false,
        ipam: { addresses: [{ address: "10.7.0.5/24" }], routes: [] },
      },
      { type: "firewall" },
    ]);
    expect(args(more)).toEqual({});
  });

  test("has no address where nobody gives out any", () => {
    const more: More = {
      network: { subnets: [], ipam_options: { driver: "none" } },
      container: { static_ips: null },
    };
    expect(first(more)).not.toHaveProperty("ipam");
    expect(first(more)).toMatchObject({ isGateway: false, ipMasq: false });
  });
});

describe("a container on a parent", () => {
  test("is a macvlan, in mode vlan on the link of the VLAN", () => {
    expect(plugins({ options: { mode: "macvlan", macvlan_mode: "private" } })).toMatchObject([
      { type: "macvlan", master: "web0", mode: "private", capabilities: { mac: true } },
    ]);
    expect(plugins({ options: { mode: "vlan", vlan: "7" } })).toMatchObject([
      { type: "macvlan", master: "web0.7", mode: "bridge" },
    ]);
  });

  test("is an ipvlan, which has no MAC address of its own", () => {
    const options = { mode: "ipvlan", ipvlan_mode: "l3" };
    expect(plugins({ options })).toMatchObject([{ type: "ipvlan", master: "web0", mode: "l3" }]);
    expect(first({ options })?.["ipam"]).toEqual({
      type: "static",
      addresses: [{ address: "10.7.0.5/24" }],
      routes: [{ dst: "0.0.0.0/0", priority: 100 }],
    });
    expect(plugins({ options: { mode: "ipvlan" } })).toMatchObject([
      { mode: "l2", ipam: { routes: [{ dst: "0.0.0.0/0", gw: "10.7.0.1", priority: 100 }] } },
    ]);
    const why = refusal(() => plugins({ options, container: { static_mac: "02:00:00:00:00:01" } }));
    expect(why).toContain("links of ipvlan have the MAC address of their parent");
  });

  test("may ask a DHCP server", () => {
    const more: More = {
      options: { mode: "macvlan" },
      network: { subnets: [], ipam_options: { driver: "dhcp" } },
      container: { static_ips: null },
    };
    expect(first(more)).toMatchObject({ ipam: { type: "dhcp" } });
  });
});

describe("what a container asks for", () => {
  test("is its MAC address and its host ports, ranges one by one", () => {
    const ports = [
      { container_port: 80, host_port: 8080, host_ip: "", protocol: "tcp", range: 1 },
      { container_port: 53, host_port: 53, host_ip: "127.0.0.1", protocol: "tcp,udp", range: 1 },
      { container_port: 90, host_port: 9000, host_ip: "0.0.0.0", protocol: "", range: 2 },
    ];
    expect(args({ ports, container: { static_mac: "02:00:00:00:00:01" } })).toEqual({
      mac: "02:00:00:00:00:01",
      portMappings: [
        { hostPort: 8080, containerPort: 80, protocol: "tcp" },
        { hostPort: 53, containerPort: 53, protocol: "tcp", hostIP: "127.0.0.1" },
        { hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "127.0.0.1" },
        { hostPort: 9000, containerPort: 90, protocol: "tcp" },
        { hostPort: 9001, containerPort: 91, protocol: "tcp" },
      ],
    });
  });

  test("is opened where the network says, and where the container has an address of that family", () => {
    const options = { "com.docker.network.bridge.host_binding_ipv4": "192.0.2.1" };
    const ports = [
      { container_port: 80, host_port: 8080 },
      { container_port: 81, host_port: 8081, host_ip: "fd00::1" },
    ];
    expect(args({ options, ports })).toEqual({
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "192.0.2.1" }],
    });
    expect(args({ ...DUAL, ports })).toMatchObject({ portMappings: [{}, { hostIP: "fd00::1" }] });
  });

  const refused: Readonly<Record<string, [string, More]>> = {
    "with an address elsewhere": [
      "network_options.static_ips[0]: 10.8.0.1 is in no subnet of web",
      { container: { static_ips: ["10.8.0.1"] } },
    ],
    "with a MAC address of words": ["network_options.static_mac", { container: { static_mac: "words" } }],
    "with an option of its own": [
      "network_options.options.host_interface_name: is not offered",
      { container: { options: { host_interface_name: "web7" } } },
    ],
    "with ports beyond the last": [
      "port_mappings[0].range: 10 ports from there on go up to 65539",
      { ports: [{ container_port: 1, host_port: 65530, range: 10 }] },
    ],
    "with a protocol without ports": [
      'port_mappings[0].protocol: "icmp" is not one of',
      { ports: [{ container_port: 1, host_port: 1, protocol: "icmp" }] },
    ],
    "with too many ports": [
      `port_mappings: publish ${PORTS + 1} ports; there may be ${PORTS}`,
      { ports: [{ container_port: 1, host_port: 1, range: PORTS + 1 }] },
    ],
  };
  test.each(Object.entries(refused))("is refused %s", (_, [why, more]) => {
    const work = (): unknown => [plugins(more), args(more)];
    expect(refusal(work)).toContain(why);
  });

  test("is refused without an address of Podman's", () => {
    const none = connection({ container: { static_ips: null } });
    expect(refusal(() => requireAddresses(none))).toContain("static_ips: is missing");
    expect(requireAddresses(connection())).toBeUndefined();
  });
});
