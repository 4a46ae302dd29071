import type { Version } from "../../src/cni/version.ts";

/**
 * Where ours differs from the reference on purpose. Each entry has its row in docs/differences.md, and takes away lines
 * of a comparison; what no entry takes away is a bug.
 */
export interface KnownDifference {
  /** Words that stand in its row of docs/differences.md. */
  readonly row: string;
  /** The networks that it is about; absent: all. */
  readonly networks?: RegExp;
  readonly versions?: readonly Version[];
  /** Lines that only the reference has, and lines that only ours has. */
  readonly reference?: RegExp;
  readonly ours?: RegExp;
  /** What of a line of the reference makes one of ours, as `String.replace` takes it: only in that do they differ. */
  readonly as?: string;
}

export const known: readonly KnownDifference[] = [
  {
    row: "the MTU of every interface is in the result",
    ours: /^ADD \d+: \.interfaces\[\d+\]\.mtu \d+$/,
  },
  {
    row: "CHECK of a network without IPAM succeeds",
    networks: /, no addresses$/,
    reference: /^(CHECK \d+): 1$/,
    as: "$1: 0",
  },
  {
    row: "a bridge that is made does not look for duplicates of its own link-local address",
    networks: /^bridge (?!with duplicate)/,
    reference: /^(.*host: sysctl net\/ipv6\/conf\/cmp0\/accept_dad):1$/,
    as: "$1:0",
  },
  {
    row: "an interface announces itself in the families that it has addresses of",
    reference: /^made: .*container 1: sysctl net\/ipv[46]\/conf\/eth0\/(arp|ndisc)_notify:[01]$/,
    ours: /^made: .*container 1: sysctl net\/ipv[46]\/conf\/eth0\/(arp|ndisc)_notify:[01]$/,
  },
  {
    row: "the host's route to a ptp container has the scope of the link",
    networks: /^ptp/,
    reference: /^(made: .*host: route .*dst 10\.96\.0\.2 .* scope) host$/,
    as: "$1 link",
  },
  {
    row: "no search for duplicates on a link that has two ends",
    networks: /^ptp/,
    reference: /^(made: .*(?:VETH|eth0)\/accept_dad):1$/,
    as: "$1:0",
  },
  {
    row: "`accept_dad` of the link is the kernel's -1",
    networks: /^dummy/,
    reference: /(container 1: sysctl net\/ipv6\/conf\/eth0\/accept_dad):-1$/,
    as: "$1:0",
  },
  {
    row: "the gateway's address at the host's end of a ptp link makes no route to itself",
    networks: /^ptp/,
    reference: /^made: .*host: route .*dst fd96::1 dev VETH .*proto(col)? kernel/,
  },
  {
    row: "DEL takes lo down only if ADD brought it up",
    networks: /^loopback/,
    reference: /^left: .*container 1: (link lo |address ::1)/,
  },
  {
    row: "keeps the interface `BRIDGE.VLAN` for ever",
    networks: /^bridge with a VLAN, as gateway/,
    reference: /^left: .*(cmp0\.100|VETH)/,
  },
  {
    row: "the host's interface in a VLAN",
    networks: /^bridge with a VLAN, as gateway/,
    reference: /^made: .*host: sysctl net\/ipv6\/conf\/(cmp0\.100|VETH)\/accept_(dad|ra):[01]$/,
    ours: /^made: .*host: sysctl net\/ipv6\/conf\/(cmp0\.100|VETH)\/accept_(dad|ra):[01]$/,
  },
  {
    row: "token buckets have the handle",
    networks: /bandwidth/,
    reference: /^(made: .*qdisc tbf) 1: /,
    as: "$1 6864: ",
  },
  {
    row: "makes a hook `ingress`",
    networks: /bandwidth/,
    reference: /^(made: .*qdisc) ingress ffff: /,
    as: "$1 clsact ffff: ",
  },
  {
    row: "it is the last, priority 65000",
    networks: /bandwidth/,
    reference: /^made: .*filter (parent ffff: )?protocol all pref 1 u32 /,
    ours: /^made: .*filter protocol all pref 65000 u32 /,
  },
  {
    row: "a result that the version cannot express is refused before anything is made",
    networks: /^(bridge .*|macvlan .*|tap.*|host-device), no addresses$/,
    versions: ["0.1.0", "0.2.0"],
    reference: /^made: .*(VETH|eth0|cmp1)/,
  },
  {
    row: "DEL with masquerading by nftables fails where iptables has no chain for it",
    networks: /^ptp masquerading by nftables/,
    reference: /^DEL 1: 1$/,
    as: "DEL 1: 0",
  },
  {
    row: "CHECK fails if there are several routes to one destination, or one in another table",
    networks: /with routes of every kind/,
    reference: /^CHECK 1: 1$/,
    as: "CHECK 1: 0",
  },
  {
    row: "an address waits for duplicate address detection that cannot end before a program holds the tap",
    networks: /^tap/,
    reference: /^(made: .*eth0\/accept_dad):1$/,
    as: "$1:0",
  },
  {
    row: "DEL fails when the link or its alias is missing",
    networks: /^host-device/,
    reference: /^DEL again 1: 1$/,
    as: "DEL again 1: 0",
  },
  {
    row: "the device comes back down, without its alias",
    networks: /^host-device/,
    reference: /^left: (left|lost): host: link cmp1 /,
  },
  {
    row: "rules have the priorities from 32765 down",
    networks: /and sbr/,
    reference: /^(made: .*: rule priority) 327\d\d (.*) protocol unspec$/,
    as: "$1 32000 $2 protocol 72",
  },
  {
    row: "CHECK of the plugin before `sbr` misses the routes that `sbr` has moved",
    networks: /and sbr,/,
    reference: /^CHECK 1: 1$/,
    as: "CHECK 1: 0",
  },
  {
    row: "CHECK of the plugin before `vrf` misses the routes that `vrf` has moved",
    networks: /and vrf,/,
    reference: /^CHECK 1: 1$/,
    as: "CHECK 1: 0",
  },
  {
    row: "copies of the kernel's own routes say that they are the kernel's",
    networks: /and sbr/,
    reference: /^(made: .*: route .* table 1\d\d protocol) kernel /,
    as: "$1 boot ",
  },
  {
    row: "the host's end of a pair has no transmit queue",
    networks: /^(bridge|ptp)/,
    reference: /^(made: .*host: link VETH .* txqlen) 0 /,
    as: "$1 1000 ",
  },
  {
    row: "detection in the background, the address can be used at once",
    networks: /^(macvlan|ipvlan|vlan|host-device)/,
    reference: /^(made: .*sysctl net\/ipv6\/conf\/eth0\/(?:use_optimistic|optimistic_dad)):0$/,
    as: "$1:1",
  },
  {
    row: "`mtu` and `advmss` of routes are only passed on",
    networks: /with routes of every kind/,
    reference: /^(made: .*: route .*dst 198\.18\.0\.0\/24 .* metric 7)$/,
    as: '$1 metrics [{"mtu":1300,"advmss":1200}]',
  },
  {
    row: "says that its gateway is on the link",
    networks: /^ptp with routes of every kind/,
    reference: /^(made: .*: route .*dst 2001:db8:1::\/48 .*"flags":\[)(\].*"flags":\[)\]/,
    as: '$1"onlink"$2"onlink"]',
  },
  {
    row: "none of the former, always the latter",
    networks: /^tap/,
    reference: /^(made: .*: link eth0 tun .* vnet_hdr) false /,
    as: "$1 true ",
  },
  {
    row: "routes without gateway and source get into the tables of both families",
    networks: /and sbr.*, dual stack$/,
    reference: /^made: .*: route .* dst fd96::\/64 dev eth0 table 100 protocol kernel /,
  },
];
