/** Who drops what containers send, and rules of ours that somebody took away. */
import { shared } from "../../../firewall/iptables-names.ts";
import { plural, some, sysctlCommand, sysctlName } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { cannotTell, type Check, type Finding, note, problem, warning, whenSeen } from "../finding.ts";
import type { Drop } from "../gather/rule-set.ts";
import type { RecordedAttachment } from "../gather/state.ts";
import { allSeen } from "../seen.ts";

type Facts = Pick<HostFacts, "config" | "net" | "ruleSet" | "state">;

export const firewall: Check<Facts> = {
  ids: ["forward-drop", "bridge-netfilter", "iptables-mixed", "rules-lost", "loopback-exposed"],
  run: (facts) => [
    ...forwardDrops(facts),
    ...bridgeNetfilter(facts),
    ...mixed(facts),
    ...lost(facts),
    ...loopback(facts),
  ],
};

/** How to let containers pass where each program drops (docs/debugging.md). */
function allowing({ chain, iptables }: Drop): string {
  if (chain.startsWith("inet firewalld "))
    return "add the plugin firewall to the list, or: firewall-cmd --permanent --zone=trusted --add-source=SUBNET && firewall-cmd --reload";
  if (iptables !== undefined) return 'add { "type": "firewall" } to the list behind bridge or ptp';
  return `allow the subnets of containers in chain ${chain}`;
}

function forwardDrops({ config, ruleSet, state }: Facts): readonly Finding[] {
  const fact = allSeen({
    drops: ruleSet.drops,
    networks: networksOf(config),
    usual: ruleSet.usualIptables,
    attachments: state.attachments,
  });
  return whenSeen("forward-drop", fact, ({ drops, networks, usual, attachments }) => {
    const routed = networks.filter((n) => n.routed);
    return drops.map((drop) => {
      const how = drop.by === "policy" ? "by its policy" : "by its last rule";
      const seen = `chain ${drop.chain} drops ${how} what its rules do not accept`;
      if (routed.length === 0)
        return note("forward-drop", drop.chain, `${seen}; no configured network is routed by this host`);
      const keeper = keeperOf(drop, usual);
      const open = routed
        .filter((n) => keeper === undefined || !n.allowsIn.includes(keeper))
        .map((n) => n.name);
      if (open.length > 0)
        return warning(
          "forward-drop",
          drop.chain,
          `${seen}; whether they accept containers of ${open.join(", ")} cannot be told from here`,
          allowing(drop),
        );
      const early = notAllowed(attachments, new Set(routed.map((n) => n.name)), keeper);
      if (early.length > 0)
        return warning(
          "forward-drop",
          drop.chain,
          `${seen}, and ${plural(early.length, "container")} came before it did, or before the plugin firewall: ${some(early)}`,
          "detach these containers and attach them again",
        );
      return note(
        "forward-drop",
        drop.chain,
        `${seen}; the plugin firewall allows the containers of every routed network there`,
      );
    });
  });
}

/** In which place the plugin firewall can allow what this chain drops; undefined: in none. */
function keeperOf(drop: Drop, usual: "nft" | "legacy" | undefined): "iptables" | "firewalld" | undefined {
  if (drop.chain.startsWith("inet firewalld ")) return "firewalld";
  return drop.iptables !== undefined && drop.iptables === usual ? "iptables" : undefined;
}

/** Live containers of these networks of which the plugin firewall has entered nothing there. */
function notAllowed(
  attachments: readonly RecordedAttachment[],
  networks: ReadonlySet<string>,
  keeper: "iptables" | "firewalld" | undefined,
): readonly string[] {
  const live = attachments.filter((a) => a.state === "live" && networks.has(a.owner.network));
  const keyOf = ({ owner: o }: RecordedAttachment): string => `${o.network}/${o.containerId}/${o.ifname}`;
  const allowed = new Set(
    live
      .filter((a) =>
        a.objects.some(
          (o) =>
            o.kind === "firewall" &&
            o.state.backend === keeper &&
            o.state.rules.some((r) => r.kind === "accept-forward"),
        ),
      )
      .map(keyOf),
  );
  return [...new Set(live.map(keyOf))].filter((key) => !allowed.has(key));
}

function bridgeNetfilter({ net, ruleSet }: Facts): readonly Finding[] {
  return whenSeen(
    "bridge-netfilter",
    allSeen({ sysctls: net.sysctls, drops: ruleSet.drops }),
    ({ sysctls, drops }) =>
      ([4, 6] as const).flatMap((family) => {
        const key = `net/bridge/bridge-nf-call-ip${family === 4 ? "" : "6"}tables`;
        const dropping = drops.filter((d) => d.families.includes(family));
        if (sysctls.get(key) !== "1" || dropping.length === 0) return [];
        const name = sysctlName(key);
        return [
          warning(
            "bridge-netfilter",
            name,
            `${name} is 1, so that ${dropping.map((d) => d.chain).join(", ")} also sees IPv${family} between ports of one bridge`,
            `${sysctlCommand(key, "0")} (unless Kubernetes runs here, which needs it), or allow the subnets in that chain`,
          ),
        ];
      }),
  );
}

/** Chains without a rule do nothing; the older tables stay loaded for ever once somebody looked at them. */
function mixed({ ruleSet }: Facts): readonly Finding[] {
  return whenSeen("iptables-mixed", ruleSet.iptables, (saved) => {
    const used = saved.filter(({ text }) => /^-A /m.test(text) || /^:\S+ DROP /m.test(text));
    return ([4, 6] as const)
      .filter((family) =>
        ["nft", "legacy"].every((kind) => used.some((s) => s.family === family && s.kind === kind)),
      )
      .map((family) =>
        warning(
          "iptables-mixed",
          `IPv${family}`,
          `there are rules in iptables-legacy and in iptables-nft for IPv${family}`,
          "move the rules to one of them: iptables-legacy-save, iptables-nft-restore, and update-alternatives --config iptables",
        ),
      );
  });
}

/** One finding for a network: after a flush they are many. */
function lost({ state }: Facts): readonly Finding[] {
  return whenSeen("rules-lost", state.attachments, (attachments) => {
    const compared = attachments.flatMap(({ owner, firewall: fact }) => (fact ? [{ owner, fact }] : []));
    const hidden = compared.flatMap(({ owner, fact }) =>
      fact.known ? [] : [cannotTell("rules-lost", fact.why, `${owner.network}/${owner.containerId}`)],
    );
    const broken = compared.flatMap(({ owner, fact }) =>
      fact.known && fact.value !== undefined ? [{ owner, differs: fact.value }] : [],
    );
    const found = [...Map.groupBy(broken, (b) => b.owner.network)].map(([network, of]) => {
      const words = of.map(
        ({ owner, differs }) => `${owner.component} of ${owner.containerId} (${owner.ifname}): ${differs}`,
      );
      const containers = new Set(of.map(({ owner }) => owner.containerId)).size;
      const seen = `network ${network} has lost rules of ${plural(containers, "container")}: ${some(words, 3)}`;
      return problem("rules-lost", network, seen, "heddle reload");
    });
    // One tells enough.
    return [...found, ...hidden.slice(0, 1)];
  });
}

function loopback({ net, ruleSet }: Facts): readonly Finding[] {
  return whenSeen(
    "loopback-exposed",
    allSeen({ links: net.links, sysctls: net.sysctls, chains: ruleSet.chains, iptables: ruleSet.iptables }),
    ({ links, sysctls, chains, iptables }) => {
      const all = sysctls.get("net/ipv4/conf/all/route_localnet") === "1";
      const open = links.filter(
        (l) => !l.loopback && (all || sysctls.get(`net/ipv4/conf/${l.name}/route_localnet`) === "1"),
      );
      const guarded =
        chains.some(
          (c) => c.family === "inet" && c.table === "heddle" && c.chain === "guard" && c.uses > 0,
        ) || iptables.some(({ text }) => text.includes(`-A ${shared.guard} `));
      if (open.length === 0 || guarded) return [];
      const names = open.map((l) => l.name).join(", ");
      return [
        warning(
          "loopback-exposed",
          names,
          `route_localnet is 1 on ${names}, and no chain of Heddle's drops 127.0.0.0/8 from there; rules of others were not looked through`,
          "heddle reload",
          ...open.map(
            (l) =>
              `${sysctlCommand(`net/ipv4/conf/${l.name}/route_localnet`, "0")} (if 127.0.0.1 is not mapped)`,
          ),
        ),
      ];
    },
  );
}
