/**
 * What is measured, as data: each case has players that do the same work, and targets for ours as a ratio to the
 * reference. A player is a way to run a list of plugins; `stage.ts` carries it out.
 */

/** A configuration list, as a runtime reads it. */
export interface NetworkList {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly (Readonly<Record<string, unknown>> & { readonly type: string })[];
}

/** Whose executables: ours or the reference's. */
export type Maker = "heddle" | "reference";

export type Player = {
  readonly name: string;
  readonly list: NetworkList;
  /** A complaint with which this player's DEL may end after it has done its work; the proof shows that it has. */
  readonly knownComplaint?: string;
} & (
  | { readonly kind: "plugins"; readonly maker: Maker }
  /** `heddle cni add`: the whole list in one process. */
  | { readonly kind: "command" }
  /** The same kernel requests and files from a loop in a process that runs already. */
  | { readonly kind: "floor" }
  /** A compiled program that does nothing at all. */
  | { readonly kind: "empty" }
);

/** Most that our median may be, as a part of the reference's. */
export interface Targets {
  readonly add: number;
  readonly del?: number;
}

export interface Case {
  readonly title: string;
  /** What the container is called inside, and whether it has a port of the host. */
  readonly ifname: "eth0" | "lo";
  readonly mapped: boolean;
  /** Containers attached before the first run. */
  readonly crowd?: true;
  /** Addresses that the range of `list` has given away before the first run, as files that any host-local reads. */
  readonly reserved?: number;
  /** The ADD ends when the host reaches the container's IPv6 address, not when the plugin does. */
  readonly untilReached?: true;
  /** Who asks the container in the proof; absent: the host. A macvlan's host cannot reach it. */
  readonly askedBy?: "neighbour";
  /** Fifty are attached at once; what is measured is from the first start to the last exit. */
  readonly burst?: number;
  readonly players: readonly Player[];
  readonly targets?: Targets;
  /** The start-up budget: how much more than the player `empty` ours may take. */
  readonly aboveEmpty?: { readonly ms: number; readonly megabytes: number };
}

const subnet = "10.244.10.0/24";
/** Room for the crowd. */
const wideSubnet = "10.244.0.0/16";

const bridge = (more: Readonly<Record<string, unknown>>, range = subnet): NetworkList["plugins"][number] => ({
  type: "bridge",
  bridge: "mynet",
  ...more,
  isGateway: true,
  ipam: { type: "host-local", subnet: range, routes: [{ dst: "0.0.0.0/0" }] },
});

const plain: NetworkList = { name: "mynet", cniVersion: "0.3.0", plugins: [bridge({})] };

/** The list of the demo; with a backend, both plugins are told to use it. */
function mapping(backend?: "nftables" | "iptables", range = subnet): NetworkList {
  const masq = backend === undefined ? {} : { ipMasqBackend: backend };
  const port = backend === undefined ? {} : { backend };
  return {
    name: "mynet",
    cniVersion: "0.3.0",
    plugins: [
      bridge({ ipMasq: true, ...masq }, range),
      { type: "portmap", ...port, capabilities: { portMappings: true } },
    ],
  };
}

/** A list in which everything is that a port, a firewall and a limit need. */
const whole: NetworkList = {
  name: "mynet",
  cniVersion: "1.0.0",
  plugins: [
    bridge({ ipMasq: true }),
    { type: "portmap", capabilities: { portMappings: true } },
    { type: "firewall" },
    { type: "tuning", mtu: 1400, sysctl: { "net.ipv4.conf.IFNAME.log_martians": "1" } },
    {
      type: "bandwidth",
      ingressRate: 1_000_000_000,
      ingressBurst: 80_000_000,
      egressRate: 1_000_000_000,
      egressBurst: 80_000_000,
    },
  ],
};
/** The same as one entry of a list. */
const packed: NetworkList = {
  ...whole,
  plugins: [{ type: "heddle-chain", capabilities: { portMappings: true }, plugins: whole.plugins }],
};

const hostLocal = (range: string) => ({ type: "host-local", subnet: range });
const macvlan: NetworkList = {
  name: "mynet",
  cniVersion: "1.0.0",
  plugins: [{ type: "macvlan", master: "up0", ipam: hostLocal(subnet) }],
};
const ptp: NetworkList = {
  name: "mynet",
  cniVersion: "1.0.0",
  plugins: [{ type: "ptp", ipam: hostLocal(subnet) }],
};
const addresses: NetworkList = {
  name: "mynet",
  cniVersion: "1.0.0",
  plugins: [{ type: "host-local", ipam: hostLocal(wideSubnet) }],
};
const dualStack: NetworkList = {
  name: "mynet",
  cniVersion: "1.0.0",
  plugins: [
    {
      type: "bridge",
      bridge: "mynet",
      isGateway: true,
      ipam: { type: "host-local", ranges: [[{ subnet }], [{ subnet: "fd44::/64" }]] },
    },
  ],
};

const loopback: NetworkList = { name: "lo", cniVersion: "1.0.0", plugins: [{ type: "loopback" }] };

/**
 * Whatever the backend, the reference's DEL takes back both kinds of masquerading, and with iptables 1.8.9 (nf_tables) takes
 * "there is no such chain" for a failure: it says so and ends with code 1, when everything is removed.
 */
const noSuchChain = "does not exist";

const pair = (list: NetworkList): readonly Player[] => [
  { name: "heddle", kind: "plugins", maker: "heddle", list },
  { name: "reference", kind: "plugins", maker: "reference", list, knownComplaint: noSuchChain },
];
const floor = (list: NetworkList): Player => ({ name: "floor", kind: "floor", list });

export const cases = {
  bridge: {
    title: "bridge + host-local",
    ifname: "eth0",
    mapped: false,
    players: [...pair(plain), floor(plain)],
    targets: { add: 1.0, del: 1.05 },
  },
  list: {
    title: "bridge (ipMasq) + host-local + portmap, each with its default backend",
    ifname: "eth0",
    mapped: true,
    players: [...pair(mapping()), floor(mapping())],
    targets: { add: 0.4, del: 0.25 },
  },
  "list-nftables": {
    title: "the list, nftables against nftables",
    ifname: "eth0",
    mapped: true,
    players: pair(mapping("nftables")),
    targets: { add: 0.5, del: 0.5 },
  },
  "list-iptables": {
    title: "the list, iptables against iptables",
    ifname: "eth0",
    mapped: true,
    players: pair(mapping("iptables")),
    targets: { add: 0.5, del: 0.5 },
  },
  crowded: {
    title: "the list beside many other mapped containers, nftables against nftables",
    ifname: "eth0",
    mapped: true,
    crowd: true,
    players: pair(mapping("nftables", wideSubnet)),
    targets: { add: 0.3, del: 0.3 },
  },
  burst: {
    title: "50 containers at once, first start to last exit, the list",
    ifname: "eth0",
    mapped: true,
    burst: 50,
    players: pair(mapping()),
    targets: { add: 0.4, del: 0.25 },
  },
  command: {
    title: "the list through `heddle cni` (one process) against the reference's plugins one by one",
    ifname: "eth0",
    mapped: true,
    players: [
      { name: "heddle cni", kind: "command", list: mapping() },
      { name: "reference", kind: "plugins", maker: "reference", list: mapping() },
    ],
    targets: { add: 0.3, del: 0.2 },
  },
  whole: {
    title: "bridge + portmap + firewall + tuning + bandwidth, five processes, default backends",
    ifname: "eth0",
    mapped: true,
    players: pair(whole),
    targets: { add: 0.45, del: 0.2 },
  },
  "whole-command": {
    title: "the same five through `heddle cni` (one process)",
    ifname: "eth0",
    mapped: true,
    players: [
      { name: "heddle cni", kind: "command", list: whole },
      { name: "reference", kind: "plugins", maker: "reference", list: whole, knownComplaint: noSuchChain },
    ],
    targets: { add: 0.2, del: 0.15 },
  },
  "whole-packed": {
    title: "the same five as one heddle-chain (one process)",
    ifname: "eth0",
    mapped: true,
    players: [
      { name: "heddle-chain", kind: "plugins", maker: "heddle", list: packed },
      { name: "reference", kind: "plugins", maker: "reference", list: whole, knownComplaint: noSuchChain },
    ],
    targets: { add: 0.2, del: 0.15 },
  },
  macvlan: {
    title: "macvlan + host-local",
    ifname: "eth0",
    mapped: false,
    askedBy: "neighbour",
    players: pair(macvlan),
    targets: { add: 1.0, del: 1.05 },
  },
  ptp: {
    title: "ptp + host-local",
    ifname: "eth0",
    mapped: false,
    players: pair(ptp),
    targets: { add: 1.0, del: 1.05 },
  },
  "host-local": {
    title: "host-local alone, in a /16 of which 60,000 addresses are taken",
    ifname: "eth0",
    mapped: false,
    reserved: 60_000,
    players: pair(addresses),
    targets: { add: 0.1, del: 0.1 },
  },
  "dual-stack": {
    title: "bridge with two families, until the host reaches the container by IPv6",
    ifname: "eth0",
    mapped: false,
    untilReached: true,
    players: pair(dualStack),
    targets: { add: 0.5 },
  },
  loopback: {
    title: "loopback, against an empty compiled Bun program",
    ifname: "lo",
    mapped: false,
    players: [...pair(loopback), { name: "empty program", kind: "empty", list: loopback }],
    aboveEmpty: { ms: 1.5, megabytes: 12 },
  },
} as const satisfies Record<string, Case>;

export type CaseName = keyof typeof cases;
export const caseNames = Object.keys(cases) as readonly CaseName[];
/** The case as the rest of the benchmark sees it. */
export const caseOf = (name: CaseName): Case => cases[name];
