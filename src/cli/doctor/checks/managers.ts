/** Firewall front ends, managers that take links for their own, other container networks. */
import { some } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { cannotTell, type Check, type Finding, note, warning, whenSeen } from "../finding.ts";
import type { ManagedLink } from "../gather/managers.ts";
import { allSeen, type Seen, seen } from "../seen.ts";
import type { Link } from "../../../rtnl/link.ts";

type Facts = Pick<HostFacts, "config" | "managers" | "net" | "ruleSet" | "state">;

export const managers: Check<Facts> = {
  ids: ["firewall-front-end", "flush-on-reload", "link-managed", "network-system"],
  run: (facts) => [...frontEnds(facts), ...flushes(facts), ...managedLinks(facts), ...systems(facts)],
};

function frontEnds({ managers, ruleSet }: Facts): readonly Finding[] {
  const id = "firewall-front-end";
  const { ufw, docker } = managers;
  const zones = "firewall-cmd --permanent --zone=trusted --add-source=SUBNET, or the plugin firewall";
  return [
    ...whenSeen(id, firewalldRuns(managers, ruleSet), (runs) =>
      runs
        ? [
            note(
              id,
              "firewalld",
              "firewalld runs: it forgets the containers of the plugin firewall when it is reloaded",
              `${zones}; after a reload: heddle reload`,
            ),
          ]
        : [],
    ),
    ...whenSeen(id, ufw, ({ enabled, forwardPolicy }) =>
      enabled
        ? [
            note(
              id,
              "ufw",
              `ufw is switched on; what is forwarded and not allowed: ${forwardPolicy ?? "DROP"}`,
              "add the plugin firewall to the list, or: ufw route allow from SUBNET",
            ),
          ]
        : [],
    ),
    ...whenSeen(id, docker, (runs) =>
      runs
        ? [
            note(
              id,
              "docker",
              "Docker is here: whenever it starts, its chain FORWARD drops what it does not know",
              "add the plugin firewall to the list, or: iptables -I DOCKER-USER -s SUBNET -j ACCEPT",
            ),
          ]
        : [],
    ),
  ];
}

/** Its table tells as well as its file. */
function firewalldRuns({ firewalld }: Facts["managers"], { tables }: Facts["ruleSet"]): Seen<boolean> {
  if (firewalld.known && firewalld.value) return firewalld;
  if (!tables.known) return tables;
  return tables.value.some((t) => t.family === "inet" && t.table === "firewalld") ? seen(true) : firewalld;
}

function flushes({ managers }: Facts): readonly Finding[] {
  return whenSeen(
    "flush-on-reload",
    allSeen({ flushes: managers.flushes, unit: managers.reloads }),
    ({ flushes: all, unit }) =>
      all.map(({ file, service }) => {
        if (unit?.enabled === true)
          return note(
            "flush-on-reload",
            file,
            `${file} flushes the whole rule set, and ${unit.name} puts it back`,
          );
        const seen = `${service} is switched on, and ${file} flushes the whole rule set`;
        const cure =
          unit === undefined
            ? `after each start or reload of ${service}: heddle reload`
            : `systemctl enable --now ${unit.name}`;
        return warning("flush-on-reload", file, seen, cure, `or, in ${file}, flush your own tables by name`);
      }),
  );
}

/** Links of containers: those with a mark of ours, and bridges that the configuration names. */
const isContainerLink = (link: Link, bridges: ReadonlySet<string>): boolean =>
  bridges.has(link.name) || link.altNames.some((n) => n.startsWith("heddle-"));

const NETWORKD_CURE = (names: string): readonly string[] => [
  `write /etc/systemd/network/05-heddle.network: [Match] Name=heddle-* ${names} [Link] Unmanaged=yes`,
  "networkctl reload",
];
const NM_CURE = (names: string): readonly string[] => [
  `write /etc/NetworkManager/conf.d/heddle.conf: [keyfile] unmanaged-devices=interface-name:veth*${
    names === ""
      ? ""
      : `;${names
          .split(" ")
          .map((n) => `interface-name:${n}`)
          .join(";")}`
  }`,
  "nmcli general reload",
];

function managedLinks({ config, managers, net }: Facts): readonly Finding[] {
  const networks = networksOf(config);
  const of = (
    name: string,
    fact: Seen<ReadonlyMap<number, ManagedLink>>,
    cure: (names: string) => readonly string[],
  ): readonly Finding[] =>
    whenSeen("link-managed", allSeen({ links: net.links, fact, networks }), (known) => {
      const bridges = new Set(known.networks.flatMap((n) => (n.bridge ? [n.bridge.name] : [])));
      const taken = known.links.filter(
        (l) => isContainerLink(l, bridges) && known.fact.get(l.index)?.managed === true,
      );
      if (taken.length === 0) return [];
      const words = taken.map((l) => {
        const state = known.fact.get(l.index);
        return `${l.name} (${state?.state}${state?.by === undefined ? "" : ` by ${state.by}`})`;
      });
      return [
        warning("link-managed", name, `${name} manages ${some(words)}`, ...cure([...bridges].join(" "))),
      ];
    });
  return [
    ...of("systemd-networkd", managers.networkd, NETWORKD_CURE),
    ...of("NetworkManager", managers.networkManager, NM_CURE),
    ...whenSeen("link-managed", managers.dhcpcd, (dhcpcd) =>
      dhcpcd === "all"
        ? [
            warning(
              "link-managed",
              "dhcpcd",
              "dhcpcd runs and asks on every link for an address, those of containers too",
              "add to /etc/dhcpcd.conf: denyinterfaces veth*",
              "dhcpcd --rebind",
            ),
          ]
        : [],
    ),
  ];
}

/** Container networks by the names that they take: of links, nftables tables, or iptables chains. */
const SYSTEMS: readonly { readonly name: string; readonly pattern: RegExp }[] = [
  { name: "Calico", pattern: /^cali/ },
  { name: "Cilium", pattern: /^(?:cilium_|CILIUM_|lxc_health)/ },
  { name: "Flannel", pattern: /^(?:flannel[.-]|FLANNEL-)/ },
  { name: "kube-proxy", pattern: /^(?:KUBE-(?:FORWARD|SERVICES|POSTROUTING)$|kube-proxy$)/ },
  { name: "libvirt", pattern: /^(?:virbr\d|LIBVIRT_|libvirt_network$)/ },
  { name: "netavark", pattern: /^(?:NETAVARK|netavark)/ },
  { name: "OVN or Open vSwitch", pattern: /^(?:ovs-system|br-int)$/ },
  { name: "Weave Net", pattern: /^(?:weave$|vethwe-|WEAVE)/ },
];

function systems({ net, ruleSet }: Facts): readonly Finding[] {
  const ids = "network-system";
  const chains = ruleSet.chains.known ? ruleSet.chains.value : [];
  const legacy = ruleSet.iptables.known ? ruleSet.iptables.value : [];
  const names = new Set([
    ...(net.links.known ? net.links.value.map((l) => l.name) : []),
    ...chains.flatMap((c) => [c.table, c.chain]),
    ...legacy.flatMap(({ text }) => [...text.matchAll(/^:(\S+) /gm)].map(([, name]) => name ?? "")),
  ]);
  const found = SYSTEMS.flatMap(({ name, pattern }) => {
    const seen = [...names].filter((n) => pattern.test(n));
    return seen.length === 0
      ? []
      : [
          note(
            ids,
            name,
            `${name} is here: ${some(seen, 3)}`,
            "give Heddle's networks subnets and bridges of their own; see docs/limits.md for what Heddle takes",
          ),
        ];
  });
  const hidden = !net.links.known ? net.links : !ruleSet.chains.known ? ruleSet.chains : undefined;
  return hidden === undefined ? found : [...found, cannotTell(ids, hidden.why)];
}
