import type { SetSpec } from "../nft/model.ts";
import type { Field, Statement } from "../nft/statement.ts";
import { type Condition, MOST_ALTERNATIVES } from "./conditions.ts";
import type { Mark, PortMapping } from "./model.ts";
import { type ChainSpec, type Group, inetTable, type Placed, type Planned, set } from "./nftables-parts.ts";

/**
 * The part of the layout for port mappings with conditions. The port leads to a chain of its attachment, whose rules are the
 * conditions; so they hold for this container alone, and cost nobody else anything. It has base chains of its own, a
 * little before those without conditions, so that hosts that have none need not have it.
 */
const port = ["inet_proto", "inet_service"] as const;

const perFamily = (v: 4 | 6, address: "ipv4_addr" | "ipv6_addr") => ({
  /** Which chain decides over a port of one address of the host, or of every address. */
  specific: set(`conditional_hostip_ports${v}`, [address, ...port], "verdict"),
  wildcard: set(`conditional_ports${v}`, port, "verdict"),
  /** Where it leads if the conditions hold. */
  specificTargets: set(`conditional_hostip_targets${v}`, [address, ...port], [address, "inet_service"]),
  targets: set(`conditional_targets${v}`, port, [address, "inet_service"]),
});
const sets4 = perFamily(4, "ipv4_addr");
const sets6 = perFamily(6, "ipv6_addr");
export const conditionalSetsOf = (family: 4 | 6) => (family === 4 ? sets4 : sets6);

/** Sets whose elements carry a mark. */
export const conditionalSets: readonly SetSpec[] = [sets4, sets6].flatMap((s) => Object.values(s));

/** One before those of mappings without conditions (-95): the first that translates wins. */
const PRIORITY = -96;

const bySpecific = (ip: "ip" | "ip6"): readonly Field[] => [`${ip} daddr`, "meta l4proto", "th dport"];
const byPort: readonly Field[] = ["meta l4proto", "th dport"];
const toPorts: readonly Statement[] = [{ fibType: "local" }, { verdict: { jump: "conditional_hostports" } }];
/** A key without an address says nothing of the family: it is tested first. */
const ofFamily = (ip: "ip" | "ip6"): Statement => ({ nfproto: ip });

export const conditionalGroup: Group = {
  name: "conditional-portmap",
  table: inetTable,
  sets: [...conditionalSets],
  chains: [
    {
      name: "conditional_hostports",
      rules: (["ip", "ip6"] as const).flatMap((ip): readonly (readonly Statement[])[] => {
        const sets = conditionalSetsOf(ip === "ip" ? 4 : 6);
        return [
          [{ vmap: bySpecific(ip), map: sets.specific.name }],
          [ofFamily(ip), { vmap: byPort, map: sets.wildcard.name }],
        ];
      }),
    },
    {
      name: "conditional_prerouting",
      base: { type: "nat", hook: "prerouting", priority: PRIORITY, policy: "accept" },
      rules: [toPorts],
    },
    {
      name: "conditional_output",
      base: { type: "nat", hook: "output", priority: PRIORITY, policy: "accept" },
      rules: [toPorts],
    },
  ],
  witness: { chain: "conditional_hostports", uses: 6 },
};

export const CONDITIONS_PREFIX = "conditions";
/** A rule for ports of one address and one for ports of all, for each alternative. */
export const CONDITION_RULES = 2 * MOST_ALTERNATIVES;

const chainName = (family: 4 | 6, mark: Mark): string => `${CONDITIONS_PREFIX}${family}_${mark}`;
/** The chains that an attachment can have. */
export const conditionChains = (mark: Mark): readonly string[] => [chainName(4, mark), chainName(6, mark)];

/** Rows of statements, one for each combination of what the lists in braces allow. */
function alternatives(conditions: readonly Condition[], ip: "ip" | "ip6"): readonly (readonly Statement[])[] {
  return conditions.reduce<readonly (readonly Statement[])[]>(
    (rows, c) => {
      const tests: readonly Statement[] =
        c.on === "iifname"
          ? c.in.map((is) => ({ ifname: "iifname", op: c.not ? "!=" : "==", is }))
          : c.in.map((p) => ({ prefix: `${ip} ${c.on}`, op: c.not ? "!=" : "==", in: p }));
      return c.not
        ? rows.map((row) => [...row, ...tests])
        : rows.flatMap((row) => tests.map((t) => [...row, t]));
    },
    [[]],
  );
}

function chainOf(family: 4 | 6, conditions: readonly Condition[], mark: Mark): ChainSpec {
  const ip = family === 4 ? "ip" : "ip6";
  const sets = conditionalSetsOf(family);
  const nat = (by: readonly Field[], map: string): Statement => ({
    nat: "dnat",
    family: ip,
    by,
    map,
    port: true,
  });
  return {
    name: chainName(family, mark),
    rules: alternatives(conditions, ip).flatMap((row) => [
      [...row, nat(bySpecific(ip), sets.specificTargets.name)],
      [...row, nat(byPort, sets.targets.name)],
    ]),
  };
}

/** The elements of one mapping; `key` is the port's, with the address of the host if it is for one alone. */
export function planConditional(
  m: PortMapping & { readonly conditions: readonly Condition[] },
  key: Placed["element"]["key"],
  mark: Mark,
): Planned {
  const { family } = m.target;
  const sets = conditionalSetsOf(family);
  const specific = key.length > port.length;
  const chain = chainOf(family, m.conditions, mark);
  return {
    chains: [chain],
    elements: [
      {
        table: inetTable,
        set: specific ? sets.specific : sets.wildcard,
        element: { key, data: { goto: chain.name }, comment: mark },
        mapping: m,
      },
      {
        table: inetTable,
        set: specific ? sets.specificTargets : sets.targets,
        element: { key, data: [m.target, m.targetPort], comment: mark },
      },
    ],
  };
}
