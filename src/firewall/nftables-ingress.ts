import type { SetSpec } from "../nft/model.ts";
import type { Statement } from "../nft/statement.ts";
import type { FirewallRule, IngressPolicy, Mark } from "./model.ts";
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
 * The part of the layout that keeps containers apart. What is routed to a container is found by its destination, which,
 * unlike the source, nobody can make up; frames between two ports of one bridge never meet a router's rules and are
 * dropped by port, in the bridge's own table.
 */
const members = {
  4: set("ingress4", ["ipv4_addr"], "verdict"),
  6: set("ingress6", ["ipv6_addr"], "verdict"),
} as const;
/** Links whose containers have a policy: only what comes from these is looked at. */
const policedLinks = set("policed_links", ["ifname"]);
export const isolatedPorts = set("isolated_ports", ["ifname"]);
const closedLinks = set("closed_links", ["ifname"]);
/** A closed link twice: br_netfilter shows a router's rules what stays on one bridge. */
const insideClosed = set("inside_closed", ["ifname", "ifname"]);

/** Sets whose elements carry a mark. */
export const ingressSets: readonly SetSpec[] = [members[4], members[6], closedLinks, insideClosed];

/** Behind `filter` (0): what others accept or count comes first, and a drop holds wherever it stands. */
const FORWARD_PRIORITY = 5;

const drop: readonly Statement[] = [{ do: "counter" }, { verdict: "drop" }];

export const ingressGroup: Group = {
  name: "ingress",
  table: inetTable,
  sets: [members[4], members[6], policedLinks],
  chains: [
    {
      name: "forward",
      base: { type: "filter", hook: "forward", priority: FORWARD_PRIORITY, policy: "accept" },
      rules: [
        [
          { member: ["iifname"], of: policedLinks.name },
          { vmap: ["ip daddr"], map: members[4].name },
        ],
        [
          { member: ["iifname"], of: policedLinks.name },
          { vmap: ["ip6 daddr"], map: members[6].name },
        ],
      ],
    },
  ],
  witness: { chain: "forward", uses: 2 },
};

export const isolationGroup: Group = {
  name: "port-isolation",
  table: bridgeTable,
  sets: [isolatedPorts],
  chains: [
    {
      name: "forward",
      base: { type: "filter", hook: "forward", priority: FORWARD_PRIORITY, policy: "accept" },
      rules: [
        [
          { member: ["iifname"], of: isolatedPorts.name },
          { member: ["oifname"], of: isolatedPorts.name },
          ...drop,
        ],
      ],
    },
  ],
  witness: { chain: "forward", uses: 1 },
};

export const closedGroup: Group = {
  name: "closed",
  table: inetTable,
  sets: [closedLinks, insideClosed],
  chains: [
    {
      name: "closed",
      base: { type: "filter", hook: "forward", priority: FORWARD_PRIORITY, policy: "accept" },
      rules: [
        [{ member: ["iifname", "oifname"], of: insideClosed.name }, { verdict: "return" }],
        [{ member: ["iifname"], of: closedLinks.name }, ...drop],
        [{ member: ["oifname"], of: closedLinks.name }, ...drop],
      ],
    },
  ],
  witness: { chain: "closed", uses: 3 },
};

const OPEN_INSIDE = "ingress_";
const ISOLATED = "isolate_";

const chainOf = ({ bridge, isolated }: IngressPolicy): ChainSpec =>
  isolated
    ? { name: ISOLATED + bridge, rules: [drop] }
    : { name: OPEN_INSIDE + bridge, rules: [[{ ifname: "iifname", op: "!=", is: bridge }, ...drop]] };

const policed = (bridge: string): Placed => ({
  table: inetTable,
  set: policedLinks,
  element: { key: [bridge] },
  shared: true,
});

export function planIngress(rule: IngressPolicy, mark: Mark): Planned {
  const chain = chainOf(rule);
  const element = { key: [rule.address], data: { goto: chain.name }, comment: mark };
  return {
    chains: [chain],
    elements: [{ table: inetTable, set: members[rule.address.family], element }, policed(rule.bridge)],
  };
}

export const planIsolation = (
  { link }: Extract<FirewallRule, { kind: "port-isolation" }>,
  mark: Mark,
): Planned => ({
  chains: [],
  elements: [{ table: bridgeTable, set: isolatedPorts, element: { key: [link], comment: mark } }],
});

export const planClosed = (
  { link }: Extract<FirewallRule, { kind: "closed-link" }>,
  mark: Mark,
): Planned => ({
  chains: [],
  elements: [
    { table: inetTable, set: closedLinks, element: { key: [link], comment: mark } },
    { table: inetTable, set: insideClosed, element: { key: [link, link], comment: mark } },
  ],
});

/**
 * The shared elements that have no meaning once these chains are gone: a bridge is not looked at any more when the chains
 * of both policies are. `exists` tells of chains beside these.
 */
export function leftWithout(
  chains: readonly string[],
  exists: (chain: string) => boolean,
): readonly Placed[] {
  const bridges = new Set(
    chains.flatMap((name) =>
      [OPEN_INSIDE, ISOLATED].flatMap((kind) => (name.startsWith(kind) ? [name.slice(kind.length)] : [])),
    ),
  );
  const stays = (chain: string): boolean => !chains.includes(chain) && exists(chain);
  return [...bridges]
    .filter((bridge) => !stays(OPEN_INSIDE + bridge) && !stays(ISOLATED + bridge))
    .map(policed);
}
