/**
 * The networks that ours and the reference are compared on: each is a list of plugins and what has to be on the host
 * before. A plugin joins the comparison by entries here.
 */
import type { Version } from "../../src/cni/version.ts";
import type { KernelFeature } from "../../src/testing/features.ts";
import type { CniHost } from "../../src/testing/cni-host.ts";
import type { TestNetns } from "../../src/testing/netns.ts";

export type Json = Readonly<Record<string, unknown>>;

export const families = {
  v4: ["10.96.0.0/24"],
  v6: ["fd96::/64"],
  "dual stack": ["10.96.0.0/24", "fd96::/64"],
  "no addresses": [],
} as const;
export type Families = keyof typeof families;

/** Where a network is attached. */
export interface Site {
  readonly host: CniHost;
  readonly container: TestNetns;
}

export interface Network {
  readonly name: string;
  /** The plugins of the list, first to last, without `name` and `cniVersion`. `ipam` goes into the first. */
  readonly plugins: readonly Json[];
  readonly families: readonly Families[];
  /** The oldest version that its plugins speak. */
  readonly since?: Version;
  /** Options of IPAM beside the ranges. */
  readonly ipam?: Json;
  readonly args?: string;
  /** Beside it what the runtime gives to each plugin. */
  readonly runtimeConfig?: Json;
  /** True if the reference 1.1.1 does not know an option of it. */
  readonly newerThan111?: true;
  /** What the kernel has to have. */
  readonly feature?: KernelFeature;
  /** A program that does not know of it is not reached there, so that traffic says nothing. */
  readonly silent?: true;
  /** What has to be there before ADD. */
  prepare?(site: Site): Promise<void>;
}

const all: readonly Families[] = ["v4", "v6", "dual stack", "no addresses"];
const addressed: readonly Families[] = ["v4", "v6", "dual stack"];

const routes = {
  v4: [{ dst: "203.0.113.0/24", gw: "10.96.0.1" }],
  v6: [{ dst: "2001:db8::/32", gw: "fd96::1" }],
} as const;

/** The `ipam` part of a network of these families, with its reservations in `dataDir`. */
export function ipamOf(network: Network, kind: Families, dataDir: string): Json {
  if (kind === "no addresses") return {};
  const ranges = families[kind].map((subnet) => [{ subnet }]);
  const given = [...(kind === "v6" ? [] : routes.v4), ...(kind === "v4" ? [] : routes.v6)];
  return { ipam: { type: "host-local", dataDir, ranges, routes: given, ...network.ipam } };
}

const bridge = (name: string, options: Json, more: Partial<Network> = {}): Network => ({
  name: `bridge ${name}`,
  plugins: [{ type: "bridge", bridge: "cmp0", ...options }],
  families: all,
  ...more,
});
const PORTS = [
  { hostPort: 9690, containerPort: 80, protocol: "tcp" },
  { hostPort: 9691, containerPort: 81, protocol: "udp" },
];
const gateway = { type: "bridge", bridge: "cmp0", isGateway: true };

/** A link of the host that nothing has touched yet, for those that hang on it. */
const MASTER = "cmp1";
const withMaster = async ({ host }: Site): Promise<void> => {
  const ends = `${MASTER} address c2:b0:57:00:00:01 type veth peer name cmp2 address c2:b0:57:00:00:02`;
  const lines = [`link add ${ends}`, `link set ${MASTER} up`, "link set cmp2 up"];
  await host.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
};
const inContainer = { linkInContainer: true };
const masterInside: Partial<Network> = {
  families: ["v4"],
  newerThan111: true,
  prepare: async ({ container }) => {
    const lines = [
      `link add ${MASTER} type veth peer name cmp2`,
      `link set ${MASTER} up`,
      "link set cmp2 up",
    ];
    await container.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  },
};
/** A plugin whose interface hangs on a link of the host, or of the container; the kernel may lack the kind. */
const onMaster = (
  type: "macvlan" | "ipvlan" | "vlan",
  name: string,
  options: Json,
  more: Partial<Network>,
): Network => ({
  name: `${type} ${name}`,
  plugins: [
    { type, master: MASTER, ...options, ...(more === masterInside ? { linkInContainer: true } : {}) },
  ],
  families: addressed,
  feature: type,
  prepare: withMaster,
  ...more,
});
/** All that IPAM can say of a route. */
const everyRoute: readonly Json[] = [
  { dst: "198.18.0.0/24", gw: "10.96.0.5", priority: 7, mtu: 1300, advmss: 1200 },
  { dst: "198.18.1.0/24" },
  { dst: "198.18.2.0/24", gw: "10.96.0.5", table: 5000 },
  { dst: "198.18.3.0/24", gw: "10.96.0.5", scope: 200 },
  { dst: "198.18.4.0/24", gw: "10.96.0.5" },
  { dst: "198.18.4.0/24", gw: "10.96.0.6" },
  { dst: "2001:db8:1::/48", gw: "fd96::5" },
  { dst: "2001:db8:1::/48", gw: "fd96::6" },
];
const linksOfOneEnd: readonly Network[] = [
  onMaster("macvlan", "bridging", { mtu: 1400 }, { families: all }),
  onMaster("macvlan", "private", { mode: "private" }, { families: ["v4"] }),
  onMaster("macvlan", "by way of the switch", { mode: "vepa" }, { families: ["v6"] }),
  onMaster("macvlan", "alone on its master", { mode: "passthru" }, { families: ["dual stack"] }),
  onMaster(
    "macvlan",
    "with a MAC address by argument",
    {},
    { families: ["v4"], args: "MAC=c2:b0:57:49:47:f4;IgnoreUnknown=1" },
  ),
  onMaster(
    "macvlan",
    "with a MAC address by capability",
    { capabilities: { mac: true } },
    { families: ["no addresses"], runtimeConfig: { mac: "c2:b0:57:49:47:f5" } },
  ),
  onMaster("macvlan", "with its master in the container", inContainer, masterInside),
  onMaster("ipvlan", "with its master in the container", inContainer, masterInside),
  onMaster("vlan", "with its master in the container", { vlanId: 100, ...inContainer }, masterInside),
  onMaster("ipvlan", "as a neighbour", { mtu: 1400 }, {}),
  onMaster("ipvlan", "behind the host", { mode: "l3" }, { families: ["dual stack"] }),
  onMaster("vlan", "of its master", { vlanId: 100, mtu: 1400 }, {}),
  { name: "dummy", plugins: [{ type: "dummy" }], families: addressed, newerThan111: true, feature: "dummy" },
];

export const networks: readonly Network[] = [
  ...linksOfOneEnd,
  bridge("as gateway, masquerading", { isGateway: true, ipMasq: true }),
  bridge(
    "as default gateway",
    { isDefaultGateway: true, mtu: 1400, hairpinMode: true },
    { families: addressed },
  ),
  bridge("without gateway", { dns: { nameservers: ["192.0.2.53"], search: ["example"] } }),
  bridge("promiscuous", { promiscMode: true, isGateway: true }, { families: ["v4"] }),
  bridge("with MAC check", { macspoofchk: true, isGateway: true }, { families: ["v4"] }),
  bridge(
    "with isolated ports",
    { portIsolation: true },
    { families: ["v4", "no addresses"], newerThan111: true },
  ),
  bridge("with duplicate address detection", { enabledad: true, isGateway: true }, { families: ["v6"] }),
  bridge(
    "with a container end that is down",
    { disableContainerInterface: true },
    { families: ["no addresses"], newerThan111: true },
  ),
  bridge(
    "with a MAC address by argument",
    {},
    { families: ["v4"], args: "MAC=c2:b0:57:49:47:f1;IgnoreUnknown=1" },
  ),
  bridge(
    "with a MAC address by capability",
    { capabilities: { mac: true } },
    { families: ["v4"], runtimeConfig: { mac: "c2:b0:57:49:47:f2" } },
  ),
  { name: "ptp", plugins: [{ type: "ptp", ipMasq: true, mtu: 1400 }], families: addressed },
  ...["iptables", "nftables"].map((ipMasqBackend) => ({
    name: `ptp masquerading by ${ipMasqBackend}`,
    plugins: [{ type: "ptp", ipMasq: true, ipMasqBackend, dns: { search: ["example"] } }],
    families: ["dual stack"] as const,
    newerThan111: true as const,
  })),
  {
    name: "ptp with routes of every kind",
    plugins: [{ type: "ptp" }],
    families: ["dual stack"],
    ipam: { routes: everyRoute },
    since: "1.0.0",
    newerThan111: true,
  },
  bridge(
    "with routes of every kind",
    {},
    { families: ["dual stack"], ipam: { routes: everyRoute }, since: "1.0.0", newerThan111: true },
  ),
  {
    name: "tap",
    plugins: [{ type: "tap", mac: "c2:b0:57:49:47:f6", mtu: 1400 }],
    families: ["v4", "no addresses"],
    newerThan111: true,
  },
  {
    name: "tap of an owner, with several queues",
    plugins: [{ type: "tap", multiQueue: true, owner: 7, group: 8 }],
    families: ["v4"],
    newerThan111: true,
  },
  {
    name: "host-device",
    plugins: [{ type: "host-device", device: MASTER }],
    families: all,
    prepare: withMaster,
  },
  { name: "loopback", plugins: [{ type: "loopback" }], families: ["no addresses"], since: "1.0.0" },
  bridge("with a VLAN", { vlan: 100 }, { families: ["v4", "no addresses"], feature: "bridge vlan" }),
  bridge(
    "with a VLAN, as gateway",
    { vlan: 100, isGateway: true, preserveDefaultVlan: true },
    { families: ["dual stack"], newerThan111: true, feature: "bridge vlan" },
  ),
  bridge(
    "with a trunk",
    { vlanTrunk: [{ id: 5 }, { minID: 7, maxID: 9 }] },
    { families: ["v4"], newerThan111: true, feature: "bridge vlan" },
  ),
  {
    name: "bridge and tuning",
    plugins: [
      gateway,
      {
        type: "tuning",
        mac: "c2:b0:57:49:47:f3",
        mtu: 1300,
        promisc: true,
        allmulti: true,
        txQLen: 20,
        sysctl: { "net.ipv4.conf.IFNAME.log_martians": "1" },
      },
    ],
    families: ["v4"],
    newerThan111: true,
  },
  ...(["bridge", "macvlan"] as const).map((type) => ({
    name: `${type} and sbr`,
    plugins: [type === "bridge" ? gateway : { type, master: MASTER }, { type: "sbr" }],
    families: addressed,
    since: "0.3.0" as const,
    ...(type === "macvlan" ? { prepare: withMaster } : {}),
  })),
  {
    name: "bridge and sbr with a table",
    plugins: [gateway, { type: "sbr", table: 300 }],
    families: ["dual stack"],
    since: "0.3.0",
    newerThan111: true,
  },
  {
    name: "bridge and vrf",
    plugins: [gateway, { type: "vrf", vrfname: "red" }],
    families: addressed,
    since: "0.3.1",
    feature: "vrf",
    // 1.1.1 loses routes by a gateway, which CHECK tells.
    newerThan111: true,
    silent: true,
  },
  {
    name: "bridge and bandwidth",
    plugins: [
      gateway,
      { type: "bandwidth", ingressRate: 8e6, ingressBurst: 8e6, egressRate: 16e6, egressBurst: 8e6 },
    ],
    families: ["v4"],
  },
  {
    name: "bridge and bandwidth by capability",
    plugins: [gateway, { type: "bandwidth", capabilities: { bandwidth: true } }],
    families: ["dual stack"],
    runtimeConfig: { bandwidth: { ingressRate: 8e6, ingressBurst: 8e6 } },
  },
  ...["open", "same-bridge", "isolated"].map(
    (ingressPolicy) =>
      ({
        name: `bridge and firewall by iptables, ${ingressPolicy}`,
        plugins: [gateway, { type: "firewall", backend: "iptables", ingressPolicy }],
        families: addressed,
        since: "0.4.0",
        ...(ingressPolicy === "isolated" ? { newerThan111: true as const } : {}),
      }) as const,
  ),
  {
    name: "bridge and portmap by iptables",
    plugins: [gateway, { type: "portmap", backend: "iptables", capabilities: { portMappings: true } }],
    families: addressed,
    runtimeConfig: { portMappings: PORTS },
  },
  {
    name: "bridge and portmap by nftables",
    newerThan111: true,
    plugins: [gateway, { type: "portmap", backend: "nftables", capabilities: { portMappings: true } }],
    families: addressed,
    runtimeConfig: { portMappings: PORTS },
  },
];
