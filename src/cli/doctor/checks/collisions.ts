/** Numbers and names that others have taken (docs/limits.md says which are Heddle's). */
import { LAYOUT_COMMENT } from "../../../firewall/nftables-parts.ts";
import { shared } from "../../../firewall/iptables-names.ts";
import { natPriorities } from "../../../firewall/nftables-probe.ts";
import { metricOf, ROUTE_PROTOCOL } from "../../../netstate/owner.ts";
import type { RoutingRule } from "../../../rtnl/rule.ts";
import { some } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { type Check, type Finding, problem, warning, whenSeen } from "../finding.ts";
import { allSeen } from "../seen.ts";

type Facts = Pick<HostFacts, "config" | "net" | "ruleSet" | "state">;

export const collisions: Check<Facts> = {
  ids: ["mark-taken", "priority-taken", "protocol-taken", "table-foreign", "name-taken"],
  run: (facts) => [
    ...marks(facts),
    ...priorities(facts),
    ...protocols(facts),
    ...tables(facts),
    ...names(facts),
  ],
};

const hex = (n: number): string => `0x${(n >>> 0).toString(16)}`;

/** Only port mappings by iptables set a mark. */
function marks({ config, net, ruleSet }: Facts): readonly Finding[] {
  return whenSeen("mark-taken", networksOf(config), (networks) => {
    const markers = networks.flatMap(({ name, markBit }) =>
      markBit === undefined ? [] : [{ name, bit: (1 << markBit) >>> 0 }],
    );
    // Without such a network it matters to nobody, and need not be seen.
    if (markers.length === 0) return [];
    return whenSeen(
      "mark-taken",
      allSeen({ rules: net.rules, iptables: ruleSet.iptables }),
      ({ rules, iptables }) =>
        markers.flatMap(({ name, bit }) => {
          const users = [...rulesWith(rules, bit), ...iptables.flatMap(({ text }) => chainsWith(text, bit))];
          if (users.length === 0) return [];
          return [
            warning(
              "mark-taken",
              name,
              `network ${name} marks packets with ${hex(bit)}, and these set or ask for that bit, too: ${some([...new Set(users)])}`,
              'set "markMasqBit" of portmap to a free bit, or "backend": "nftables", which needs none',
            ),
          ];
        }),
    );
  });
}

const rulesWith = (rules: readonly RoutingRule[], bit: number): readonly string[] =>
  rules.flatMap(({ mark, priority }) => {
    if (mark === undefined) return [];
    const mask = mark.mask ?? 0xffffffff;
    return (mask & bit) >>> 0 === 0
      ? []
      : [`the routing rule ${priority} (fwmark ${hex(mark.value)}/${hex(mask)})`];
  });

/** Chains of others whose rules set or match a mark with this bit in its mask. */
function chainsWith(text: string, bit: number): readonly string[] {
  const ours: readonly string[] = Object.values(shared);
  return text.split("\n").flatMap((line) => {
    const [, chain = "", words = ""] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (ours.includes(chain) || chain.startsWith("CNI-")) return [];
    const uses = [
      ...words.matchAll(
        /--(?:set-x?mark|mark|or-mark|and-mark|xor-mark) (0x[0-9a-f]+|\d+)(?:\/(0x[0-9a-f]+|\d+))?/g,
      ),
    ];
    return uses.some(([, value, mask]) => (Number(mask ?? value) & bit) >>> 0 !== 0)
      ? [`the iptables chain ${chain}`]
      : [];
  });
}

function priorities({ ruleSet }: Facts): readonly Finding[] {
  return whenSeen("priority-taken", ruleSet.chains, (chains) =>
    chains.flatMap(({ family, table, chain, base }) => {
      if (base?.type !== "nat" || table === "heddle") return [];
      const same = natPriorities.some((o) => o.hook === base.hook && o.priority === base.priority);
      if (!same) return [];
      const name = `${family} ${table} ${chain}`;
      const seen = `NAT chain ${name} has the priority ${base.priority} at ${base.hook}, as one of Heddle's`;
      return [
        warning(
          "priority-taken",
          name,
          seen,
          `give chain ${name} another priority, for example ${base.priority - 5}`,
        ),
      ];
    }),
  );
}

function protocols({ net, state }: Facts): readonly Finding[] {
  const taken = whenSeen("protocol-taken", net.protocolNames, (names) => {
    const named = names.get(ROUTE_PROTOCOL);
    if (named === undefined || named === "heddle") return [];
    return [
      warning(
        "protocol-taken",
        named,
        `route protocol ${ROUTE_PROTOCOL} is called ${named} in the host's rt_protos`,
        `give ${named} another number in its own configuration and in /etc/iproute2/rt_protos.d`,
      ),
    ];
  });
  const used = whenSeen(
    "protocol-taken",
    allSeen({ routes: net.routes, rules: net.rules, attachments: state.attachments }),
    ({ routes, rules, attachments }) => {
      const metrics = new Set(attachments.map((a) => metricOf(a.mark)));
      const strange = [
        ...routes
          .filter((r) => r.protocol === ROUTE_PROTOCOL && !metrics.has(r.priority ?? 0))
          .map((r) => `route ${r.dst.text} metric ${r.priority ?? 0}`),
        ...rules.filter((r) => r.protocol === ROUTE_PROTOCOL).map((r) => `rule ${r.priority}`),
      ];
      if (strange.length === 0) return [];
      return [
        warning(
          "protocol-taken",
          String(ROUTE_PROTOCOL),
          `of protocol ${ROUTE_PROTOCOL}, and of no recorded attachment: ${some(strange)}`,
          "if Heddle's record was lost: heddle cni gc NETWORK; else give the program that made them another number",
        ),
      ];
    },
  );
  return [...taken, ...used];
}

function tables({ ruleSet }: Facts): readonly Finding[] {
  return whenSeen("table-foreign", ruleSet.tables, (all) =>
    all
      .filter(
        (t) => t.table === "heddle" && ["inet", "bridge"].includes(t.family) && t.comment !== LAYOUT_COMMENT,
      )
      .map(({ family, comment }) => {
        const name = `${family} heddle`;
        const has = comment === undefined ? "no comment" : `the comment "${comment}"`;
        return problem(
          "table-foreign",
          name,
          `table ${name} has ${has} instead of "${LAYOUT_COMMENT}"`,
          `if no other release of Heddle is in use here: nft delete table ${name} && heddle reload`,
        );
      }),
  );
}

function names({ config, net }: Facts): readonly Finding[] {
  const fact = allSeen({ links: net.links, networks: networksOf(config) });
  return whenSeen("name-taken", fact, ({ links, networks }) =>
    networks.flatMap(({ name: network, bridge }) => {
      const link = links.find((l) => l.name === bridge?.name);
      if (bridge === undefined || link === undefined || link.kind === "bridge") return [];
      const seen = `network ${network} wants the bridge ${bridge.name}, and there is a link of that name of kind ${link.kind ?? "device"}`;
      return [
        problem(
          "name-taken",
          bridge.name,
          seen,
          `set another "bridge" in network ${network}, or: ip link set ${bridge.name} name OTHER`,
        ),
      ];
    }),
  );
}
