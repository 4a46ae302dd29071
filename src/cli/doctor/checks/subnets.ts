/** Subnets of configured networks that meet each other, or something else that this host reaches. */
import { type IpPrefix, overlaps } from "../../../net/ip.ts";
import type { Link } from "../../../rtnl/link.ts";
import { type Route, RT_TABLE_MAIN } from "../../../rtnl/route.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { type Check, type Finding, problem, warning, whenSeen } from "../finding.ts";
import type { ConfNetwork } from "../gather/config.ts";
import { allSeen } from "../seen.ts";

interface Subnet {
  readonly network: ConfNetwork;
  readonly prefix: IpPrefix;
  /** The directory of its reservations. */
  readonly dir: string;
}

export const subnets: Check<Pick<HostFacts, "config" | "net">> = {
  ids: ["subnet-taken"],
  run: ({ config, net }) =>
    whenSeen(
      "subnet-taken",
      allSeen({ networks: networksOf(config), routes: net.routes, links: net.links }),
      ({ networks, routes, links }) => {
        const all = subnetsOf(networks);
        return [...givenTwice(all), ...all.flatMap((subnet) => reachedElsewhere(subnet, routes, links))];
      },
    ),
};

/** Only of networks that the host routes: others share the subnet of the network that they hang on, as a rule. */
const subnetsOf = (networks: readonly ConfNetwork[]): readonly Subnet[] =>
  networks
    .filter((n) => n.routed)
    .flatMap((network) =>
      network.pools.flatMap(({ dir, subnets: prefixes }) =>
        prefixes.map((prefix) => ({ network, prefix, dir })),
      ),
    );

function givenTwice(all: readonly Subnet[]): readonly Finding[] {
  return all.flatMap((a, i) =>
    all
      .slice(0, i)
      .filter((b) => b.network.name !== a.network.name && b.dir !== a.dir && overlaps(a.prefix, b.prefix))
      .map((b) => {
        const bridge = a.network.bridge?.name;
        const same = bridge !== undefined && bridge === b.network.bridge?.name;
        const where = same ? `, on one bridge ${bridge}, without knowing of each other` : "";
        const both = `network ${b.network.name} (${b.prefix.text}) and network ${a.network.name} (${a.prefix.text})`;
        const say = same ? problem : warning;
        return say(
          "subnet-taken",
          a.prefix.text,
          `${both} give addresses of one subnet${where}`,
          `give network ${a.network.name} another subnet`,
        );
      }),
  );
}

/** Unicast, RTN_UNICAST (linux/rtnetlink.h). */
const UNICAST = 1;

function reachedElsewhere(
  { network, prefix }: Subnet,
  routes: readonly Route[],
  links: readonly Link[],
): readonly Finding[] {
  const byIndex = new Map(links.map((l) => [l.index, l]));
  return routes.flatMap(({ table, type, dst, oif }) => {
    const link = byIndex.get(oif ?? 0);
    if (table !== RT_TABLE_MAIN || type !== UNICAST || dst.bits === 0 || link === undefined) return [];
    if (leadsTo(network, link) || !overlaps(dst, prefix)) return [];
    const seen = `network ${network.name} gives addresses of ${prefix.text}, and this host reaches ${dst.text} by ${link.name}`;
    return [
      warning(
        "subnet-taken",
        prefix.text,
        seen,
        `give network ${network.name} a subnet that is not in use here`,
      ),
    ];
  });
}

/** The bridge, the host's interface in one of its VLANs, or the host's end of a container. */
const leadsTo = ({ bridge, types }: ConfNetwork, { name, kind, altNames }: Link): boolean =>
  name === bridge?.name ||
  (bridge !== undefined && name.startsWith(`${bridge.name}.`)) ||
  (types.includes("ptp") && kind === "veth") ||
  altNames.some((n) => n.startsWith("heddle-"));
