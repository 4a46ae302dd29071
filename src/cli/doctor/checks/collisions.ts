/** Numbers, names and subnets that others have taken (docs/limits.md says which are Heddle's). */
import { LAYOUT_COMMENT } from "../../../firewall/nftables-parts.ts";
import { shared } from "../../../firewall/iptables-names.ts";
import { natPriorities } from "../../../firewall/nftables-probe.ts";
import { type IpPrefix, overlaps } from "../../../net/ip.ts";
import { metricOf, ROUTE_PROTOCOL } from "../../../netstate/owner.ts";
import { RT_TABLE_MAIN } from "../../../rtnl/route.ts";
import { some } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { type Check, type Finding, problem, warning, whenSeen } from "../finding.ts";
import type { ConfNetwork } from "../gather/config.ts";
import { allSeen } from "../seen.ts";

type Facts = Pick<HostFacts, "config" | "net" | "ruleSet" | "state">;

export const collisions: Check<Facts> = {
  ids: ["mark-taken", "priority-taken", "protocol-taken", "table-foreign", "name-taken", "subnet-taken"],
  run: (facts) => [
    ...marks(facts),
    ...priorities(facts),
    ...protocols(facts),
    ...tables(facts),
    ...names(facts),
    ...subnets(facts),
  ],
};

const hex = (n: number): string => `0x${(n >>> 0).toString(16)}`;

/** Only port mappings by iptables set a mark. */
function marks({ config, net, ruleSet }: Facts): readonly Finding[] {
  const bits = new Map(
    networksOf(config).flatMap((n) =>
      n.markBit === undefined ? [] : [[(1 << n.markBit) >>> 0, n.name] as const],
    ),
  );
  if (bits.size === 0) return [];
  return whenSeen(
    "mark-taken",
    allSeen({ rules: net.rules, iptables: ruleSet.iptables }),
    ({ rules, iptables }) =>
      [...bits].flatMap(([bit, network]) => {
        const byRule = rules
          .filter((r) => r.mark !== undefined && ((r.mark.mask ?? 0xffffffff) & bit) >>> 0 !== 0)
          .map(
            (r) =>
              `the routing rule ${r.priority} (fwmark ${hex(r.mark?.value ?? 0)}/${hex(r.mark?.mask ?? 0xffffffff)})`,
          );
        const byChain = iptables.flatMap(({ text }) =>
          markChains(text, bit).map((chain) => `the iptables chain ${chain}`),
        );
        const users = [...new Set([...byRule, ...byChain])];
        if (users.length === 0) return [];
        return [
          warning(
            "mark-taken",
            network,
            `network ${network} marks packets with ${hex(bit)}, and so do, or ask for it: ${some(users)}`,
            'set "markMasqBit" of portmap to a free bit, or "backend": "nftables", which needs none',
          ),
        ];
      }),
  );
}

/** Chains of others whose rules set or match a mark with this bit in its mask. */
function markChains(text: string, bit: number): readonly string[] {
  const ours: readonly string[] = Object.values(shared);
  return text.split("\n").flatMap((line) => {
    const [, chain = "", words = ""] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (ours.includes(chain) || chain.startsWith("CNI-")) return [];
    const uses = [
      ...words.matchAll(
        /--(?:set-x?mark|mark|or-mark|and-mark|xor-mark) (0x[0-9a-f]+|\d+)(?:\/(0x[0-9a-f]+|\d+))?/g,
      ),
    ];
    return uses.some(([, value, mask]) => (Number(mask ?? value) & bit) >>> 0 !== 0) ? [chain] : [];
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
  const named = net.protocolNames.get(ROUTE_PROTOCOL);
  const taken =
    named === undefined || named === "heddle"
      ? []
      : [
          warning(
            "protocol-taken",
            named,
            `route protocol ${ROUTE_PROTOCOL} is called ${named} in the host's rt_protos`,
            `give ${named} another number in its own configuration and in /etc/iproute2/rt_protos.d`,
          ),
        ];
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
  return whenSeen("name-taken", net.links, (links) =>
    networksOf(config).flatMap(({ name: network, bridge }) => {
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

interface Subnet {
  readonly network: ConfNetwork;
  readonly prefix: IpPrefix;
  readonly dir: string;
}

/** Only of networks that the host routes: others share the subnet of the network that they hang on, as a rule. */
function subnets({ config, net }: Facts): readonly Finding[] {
  const all = networksOf(config)
    .filter((n) => n.routed)
    .flatMap((network) =>
      network.pools.flatMap((p) => p.subnets.map((prefix): Subnet => ({ network, prefix, dir: p.dir }))),
    );
  const twice = all.flatMap((a, i) =>
    all
      .slice(0, i)
      .filter((b) => b.network.name !== a.network.name && b.dir !== a.dir && overlaps(a.prefix, b.prefix))
      .map((b) => {
        const sameBridge = a.network.bridge !== undefined && a.network.bridge.name === b.network.bridge?.name;
        const say = sameBridge ? problem : warning;
        const seen = `network ${a.network.name} (${a.prefix.text}) and network ${b.network.name} (${b.prefix.text}) give addresses of one subnet${sameBridge ? `, on one bridge ${a.network.bridge?.name}, without knowing of each other` : ""}`;
        return say("subnet-taken", a.prefix.text, seen, `give network ${a.network.name} another subnet`);
      }),
  );
  const onHost = whenSeen(
    "subnet-taken",
    allSeen({ routes: net.routes, links: net.links }),
    ({ routes, links }) =>
      all.flatMap(({ network, prefix }) => {
        const byName = new Map(links.map((l) => [l.index, l]));
        const strange = routes.filter((r) => {
          const link = r.oif === undefined ? undefined : byName.get(r.oif);
          const own =
            link === undefined ||
            link.name.split(".")[0] === network.bridge?.name ||
            (network.types.includes("ptp") && link.kind === "veth") ||
            link.altNames.some((n) => n.startsWith("heddle-"));
          return (
            r.table === RT_TABLE_MAIN && r.type === 1 && r.dst.bits > 0 && !own && overlaps(r.dst, prefix)
          );
        });
        return strange.map((r) => {
          const link = byName.get(r.oif ?? 0)?.name ?? "?";
          const seen = `network ${network.name} gives addresses of ${prefix.text}, and this host reaches ${r.dst.text} by ${link}`;
          return warning(
            "subnet-taken",
            prefix.text,
            seen,
            `give network ${network.name} a subnet that is not in use here`,
          );
        });
      }),
  );
  return [...twice, ...onHost];
}
