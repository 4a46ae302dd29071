import { NetError } from "../errors.ts";
import { type Ip, type IpPrefix, ipFromBytes, isUnspecified, network, prefix } from "../net/ip.ts";
import { protocolNumbers } from "../nft/data-types.ts";
import type { Element, SetSpec, TableRef } from "../nft/model.ts";
import type { Field, Statement } from "../nft/statement.ts";
import type { FirewallRule, Mark, PortMapping } from "./model.ts";
import {
  CONDITION_RULES,
  conditionalGroup,
  conditionalSets,
  CONDITIONS_PREFIX,
  planConditional,
} from "./nftables-conditional.ts";
import {
  closedGroup,
  ingressGroup,
  ingressSets,
  isolatedPorts,
  isolationGroup,
  planClosed,
  planIngress,
  planIsolation,
} from "./nftables-ingress.ts";
import {
  bridgeTable,
  type ChainSpec,
  type Group,
  inetTable,
  type Placed,
  type Planned,
  set,
} from "./nftables-parts.ts";

/**
 * The layout of Heddle's nftables tables, as data: which chains and maps there are, and which elements one rule of the
 * model becomes. Base chains are made once; an attachment is elements only, in plain hash maps, so that its cost does
 * not grow with the number of others. Nothing here allows a packet: the tables drop or translate.
 */
/**
 * Priorities stand a little behind the usual ones (raw -300, dstnat -100, srcnat 100; bridge dstnat -300): among NAT
 * chains the first that translates wins, and that must not depend on who was loaded last.
 */
const priority = { guard: -295, dstnat: -95, hairpin: 104, masquerade: 105, bridge: -295 } as const;

// From bytes: reading an IPv6 address from text takes half a millisecond the first time, and every process loads this.
const known = (bits: number, ...bytes: readonly number[]): IpPrefix =>
  prefix(ipFromBytes(Uint8Array.of(...bytes)), bits);
const multicast4 = known(4, 224, 0, 0, 0);
const multicast6 = known(8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const loopback4 = known(8, 127, 0, 0, 0);

const port = ["inet_proto", "inet_service"] as const;

/** The sets of one address family. */
const perFamily = (v: 4 | 6, address: "ipv4_addr" | "ipv6_addr") => ({
  masquerade: set(`masquerade${v}`, [address], "verdict"),
  /** Mappings of one address of the host. */
  specific: set(`hostip_ports${v}`, [address, ...port], [address, "inet_service"]),
  /** Mappings of every address of the host. */
  wildcard: set(`ports${v}`, port, [address, "inet_service"]),
  /** The addresses that `specific` has keys of: so a wildcard finds its rivals without reading all of them. */
  hostAddresses: set(`host_addresses${v}`, [address]),
  /** By target: the container's address, protocol and port, where a mapping leads to. */
  hairpin: set(`hairpin${v}`, [address, ...port], "verdict"),
});
export const sets4 = perFamily(4, "ipv4_addr");
export const sets6 = perFamily(6, "ipv6_addr");
export const setsOf = (family: 4 | 6) => (family === 4 ? sets4 : sets6);

const checkedPorts = set("checked_ports", ["ifname"]);
const allowedMacs = set("allowed_macs", ["ifname", "ether_addr"]);

const masquerade: Group = {
  name: "masquerade",
  table: inetTable,
  sets: [sets4.masquerade, sets6.masquerade],
  chains: [
    {
      name: "postrouting",
      base: { type: "nat", hook: "postrouting", priority: priority.masquerade, policy: "accept" },
      rules: [
        [{ prefix: "ip daddr", op: "==", in: multicast4 }, { verdict: "return" }],
        [{ prefix: "ip6 daddr", op: "==", in: multicast6 }, { verdict: "return" }],
        [{ vmap: ["ip saddr"], map: sets4.masquerade.name }],
        [{ vmap: ["ip6 saddr"], map: sets6.masquerade.name }],
      ],
    },
  ],
  witness: { chain: "postrouting", uses: 4 },
};

const dnat = (family: "ip" | "ip6", by: readonly Field[], map: string): readonly Statement[] => [
  { nat: "dnat", family, by, map, port: true },
];
const toHostports: readonly Statement[] = [{ fibType: "local" }, { verdict: { jump: "hostports" } }];
/**
 * A mapping of 127.0.0.1 needs `route_localnet`, and with it a neighbour could send to the services on the host's own
 * loopback. This runs before any translation, so that what is translated later still has the address it came with.
 */
const guard: ChainSpec = {
  name: "guard",
  base: { type: "filter", hook: "prerouting", priority: priority.guard, policy: "accept" },
  rules: [
    [
      { ifname: "iifname", op: "!=", is: "lo" },
      { prefix: "ip daddr", op: "==", in: loopback4 },
      { do: "counter" },
      { verdict: "drop" },
    ],
  ],
};

const portmap: Group = {
  name: "portmap",
  table: inetTable,
  sets: [sets4, sets6].flatMap((s) => [s.specific, s.wildcard, s.hostAddresses, s.hairpin]),
  chains: [
    guard,
    {
      name: "hostports",
      rules: [
        dnat("ip", ["ip daddr", "meta l4proto", "th dport"], sets4.specific.name),
        dnat("ip", ["meta l4proto", "th dport"], sets4.wildcard.name),
        dnat("ip6", ["ip6 daddr", "meta l4proto", "th dport"], sets6.specific.name),
        dnat("ip6", ["meta l4proto", "th dport"], sets6.wildcard.name),
      ],
    },
    {
      name: "prerouting",
      base: { type: "nat", hook: "prerouting", priority: priority.dstnat, policy: "accept" },
      rules: [toHostports],
    },
    {
      name: "output",
      base: { type: "nat", hook: "output", priority: priority.dstnat, policy: "accept" },
      rules: [toHostports],
    },
    {
      name: "hairpin",
      base: { type: "nat", hook: "postrouting", priority: priority.hairpin, policy: "accept" },
      rules: (["ip", "ip6"] as const).map((ip) => [
        { ctStatus: "dnat" },
        {
          vmap: [`${ip} daddr`, "meta l4proto", "th dport"],
          map: setsOf(ip === "ip" ? 4 : 6).hairpin.name,
        },
      ]),
    },
  ],
  witness: { chain: "hostports", uses: 6 },
};

const macCheck: Group = {
  name: "mac-check",
  table: bridgeTable,
  sets: [checkedPorts, allowedMacs],
  chains: [
    {
      name: "prerouting",
      base: { type: "filter", hook: "prerouting", priority: priority.bridge, policy: "accept" },
      rules: [
        [
          { member: ["iifname"], of: checkedPorts.name },
          { member: ["iifname", "ether saddr"], of: allowedMacs.name, not: true },
          { verdict: "drop" },
        ],
      ],
    },
  ],
  witness: { chain: "prerouting", uses: 1 },
};

export const groups = { masquerade, portmap, macCheck } as const;

/** Where elements with a mark can be. */
export const markedSets: readonly { readonly table: TableRef; readonly set: SetSpec }[] = [
  ...[sets4, sets6]
    .flatMap((s) => [s.masquerade, s.specific, s.wildcard, s.hairpin])
    .map((s) => ({ table: inetTable, set: s })),
  ...conditionalSets.map((s) => ({ table: inetTable, set: s })),
  ...ingressSets.map((s) => ({ table: inetTable, set: s })),
  ...[checkedPorts, allowedMacs, isolatedPorts].map((s) => ({ table: bridgeTable, set: s })),
];

/** What a list of rules becomes. */
export interface Wanted {
  readonly groups: readonly Group[];
  /** Chains that elements go to: one for each subnet or bridge, shared by its containers. */
  readonly chains: readonly ChainSpec[];
  readonly elements: readonly Placed[];
}

const CHAIN_PREFIXES = ["masq_", "hairpin_", "ingress_", "isolate_", CONDITIONS_PREFIX] as const;
/** Chains of subnets, of bridges, of conditions: they go when no element leads to them any more. */
export const isSubnetChain = (name: string): boolean => CHAIN_PREFIXES.some((p) => name.startsWith(p));
/** No such chain has more rules than this: one that is used more often has an element that leads to it. */
export const mostRulesOf = (chain: string): number =>
  chain.startsWith(CONDITIONS_PREFIX) ? CONDITION_RULES : 2;

/** nft reads no colon in a name, and `heddle` prints none: `masq_fd00-10--/64`. */
const chainName = (kind: "masq_" | "hairpin_", subnet: IpPrefix): string =>
  `${kind}${network(subnet).text.replaceAll(":", "-")}`;

const direction = (ip: Ip, to: "saddr" | "daddr") => `${ip.family === 4 ? "ip" : "ip6"} ${to}` as const;

function masqueradeChain(subnet: IpPrefix): ChainSpec {
  const field = direction(subnet.ip, "daddr");
  return {
    name: chainName("masq_", subnet),
    rules: [[{ prefix: field, op: "!=", in: network(subnet) }, { do: "masquerade" }]],
  };
}

function hairpinChain(m: PortMapping): ChainSpec {
  if (m.masquerade === "all") return { name: "hairpin_all", rules: [[{ do: "masquerade" }]] };
  const from = [network(m.subnet), ...(m.target.family === 4 ? [loopback4] : [])];
  return {
    name: chainName("hairpin_", m.subnet),
    rules: from.map((p) => [{ prefix: direction(m.target, "saddr"), op: "==", in: p }, { do: "masquerade" }]),
  };
}

/** The address of the host that a mapping is for, or undefined for all of them. */
const specificIp = (m: PortMapping): Ip | undefined =>
  m.hostIp === undefined || isUnspecified(m.hostIp) ? undefined : m.hostIp;

/** `127.0.0.1:9090/tcp`, `[::]:53/udp`. */
export function showPort(m: PortMapping): string {
  const ip = specificIp(m)?.text ?? (m.target.family === 4 ? "0.0.0.0" : "::");
  return `${ip.includes(":") ? `[${ip}]` : ip}:${m.hostPort}/${m.protocol}`;
}

type RuleOf<K extends FirewallRule["kind"]> = Extract<FirewallRule, { kind: K }>;

function planMasquerade(r: RuleOf<"masquerade">, mark: Mark): Planned {
  const chain = masqueradeChain(r.subnet);
  const element: Element = { key: [r.address], data: { goto: chain.name }, comment: mark };
  return {
    chains: [chain],
    elements: [{ table: inetTable, set: setsOf(r.address.family).masquerade, element }],
  };
}

function planMacCheck(r: RuleOf<"mac-check">, mark: Mark): Planned {
  const placed = (set: SetSpec, key: Element["key"]): Placed => ({
    table: bridgeTable,
    set,
    element: { key, comment: mark },
  });
  return { chains: [], elements: [placed(checkedPorts, [r.link]), placed(allowedMacs, [r.link, r.mac])] };
}

function planMapping(m: PortMapping, mark: Mark): Planned {
  const ip = specificIp(m);
  if ((m.hostIp ?? m.target).family !== m.target.family)
    throw new NetError("config/invalid", {
      field: "portMappings",
      why: `host address ${m.hostIp?.text ?? ""} and container address ${m.target.text} are of different families`,
    });
  const sets = setsOf(m.target.family);
  const portKey = [protocolNumbers[m.protocol], m.hostPort];
  const main: Placed = {
    table: inetTable,
    set: ip ? sets.specific : sets.wildcard,
    element: { key: ip ? [ip, ...portKey] : portKey, data: [m.target, m.targetPort], comment: mark },
    mapping: m,
  };
  const address: Placed[] = ip
    ? [{ table: inetTable, set: sets.hostAddresses, element: { key: [ip] }, shared: true }]
    : [];
  const { conditions } = m;
  const leading =
    conditions === undefined
      ? { chains: [], elements: [main] }
      : planConditional({ ...m, conditions }, main.element.key, mark);
  if (m.masquerade === "none") return { ...leading, elements: [...leading.elements, ...address] };
  const chain = hairpinChain(m);
  const hairpin: Placed = {
    table: inetTable,
    set: sets.hairpin,
    element: {
      key: [m.target, protocolNumbers[m.protocol], m.targetPort],
      data: { goto: chain.name },
      comment: mark,
    },
  };
  return { chains: [...leading.chains, chain], elements: [...leading.elements, ...address, hairpin] };
}

/** A text that two elements share if they would be in each other's place. */
export const keyOf = (p: Placed): string =>
  JSON.stringify([p.table, p.set.name, p.element.key.map((k) => (typeof k === "object" ? k.text : k))]);

/** Data of an element as text, to compare and to show. */
export function showData(data: Element["data"]): string {
  if (data === undefined) return "present";
  if (typeof data === "string") return data;
  if ("jump" in data) return `jump ${data.jump}`;
  if ("goto" in data) return `goto ${data.goto}`;
  return data.map((d) => (typeof d === "object" ? d.text : String(d))).join(" . ");
}

/** Elements that are wanted twice are wanted once; two with one key and different data contradict one another. */
function unique(elements: readonly Placed[]): Placed[] {
  const byKey = new Map<string, Placed>();
  for (const p of elements) {
    const other = byKey.get(keyOf(p));
    if (other && showData(other.element.data) !== showData(p.element.data))
      throw new NetError("config/invalid", {
        field: p.mapping ? "portMappings" : "ipam",
        why: p.mapping
          ? `host port ${showPort(p.mapping)} is mapped twice`
          : `${keyOf(p)} is asked for twice`,
      });
    byKey.set(keyOf(p), other ?? p);
  }
  return [...byKey.values()];
}

/** Conditions are those of an attachment, and have one chain: mappings with others are a mistake of the caller. */
function requireOneSet(rules: readonly FirewallRule[], { target, conditions }: PortMapping): void {
  const other = rules.find(
    (r) =>
      r.kind === "port-mapping" &&
      r.target.family === target.family &&
      r.conditions !== undefined &&
      r.conditions !== conditions &&
      JSON.stringify(r.conditions) !== JSON.stringify(conditions),
  );
  if (other) throw new TypeError("one attachment has one list of conditions a family");
}

/** Turns rules into what has to be in the kernel. Pure. Throws `config/invalid` if they contradict one another. */
export function plan(rules: readonly FirewallRule[], mark: Mark): Wanted {
  const wantedGroups = new Set<Group>();
  const chains = new Map<string, ChainSpec>();
  const elements: Placed[] = [];
  const take = (group: Group, planned: Planned): void => {
    wantedGroups.add(group);
    for (const c of planned.chains) chains.set(c.name, c);
    elements.push(...planned.elements);
  };
  for (const r of rules) {
    if (r.kind === "masquerade") take(groups.masquerade, planMasquerade(r, mark));
    else if (r.kind === "port-mapping") {
      if (r.conditions !== undefined) {
        wantedGroups.add(conditionalGroup);
        requireOneSet(rules, r);
      }
      take(groups.portmap, planMapping(r, mark));
    } else if (r.kind === "mac-check") take(groups.macCheck, planMacCheck(r, mark));
    else if (r.kind === "ingress-policy") take(ingressGroup, planIngress(r, mark));
    else if (r.kind === "closed-link") take(closedGroup, planClosed(r, mark));
    else if (r.kind === "port-isolation") take(isolationGroup, planIsolation(r, mark));
    // What is left is to allow something, which no table of ours can.
  }
  return { groups: [...wantedGroups], chains: [...chains.values()], elements: unique(elements) };
}
