import type { Result, ResultIp } from "../../cni/result.ts";
import { NetError } from "../../errors.ts";
import type { Backend, FirewallRule, FirewallState } from "../../firewall/model.ts";
import type { Family, Ip } from "../../net/ip.ts";
import { network } from "../../net/ip.ts";
import type { Facts } from "../../netstate/facts.ts";
import type { NetObject, Of } from "../../netstate/model.ts";
import type { Dad } from "../../rtnl/address.ts";

/** Parts of plans that every plugin with a container interface has in common. */
export const hasFamily = (ips: readonly ResultIp[], family: Family): boolean =>
  ips.some((ip) => ip.address.ip.family === family);

/** The gateway of the first address of that family. */
export const gatewayOf = (ips: readonly ResultIp[], family: Family): Ip | undefined =>
  ips.find((ip) => ip.address.ip.family === family && ip.gateway !== undefined)?.gateway;

/** The addresses of the container's interface; one that names no interface is taken for its. */
export const addressesOf = ({ ips, interfaces }: Result, ifname: string): readonly ResultIp[] =>
  ips.filter((ip) => {
    const link = ip.interface === undefined ? undefined : interfaces[ip.interface];
    return ip.interface === undefined || (link?.name === ifname && Boolean(link.sandbox));
  });

/** Kernel parameters of the container's interface, before it gets its addresses. */
export function containerSysctls(ifname: string, ips: readonly ResultIp[], dad: Dad): NetObject[] {
  const set = (key: string, value: string, optional = false): Of<"sysctl"> => ({
    kind: "sysctl",
    possession: "exclusive",
    place: "container",
    key,
    value,
    optional,
  });
  const v4 = hasFamily(ips, 4) ? [set(`net/ipv4/conf/${ifname}/arp_notify`, "1")] : [];
  const accept = dad === false ? "0" : "1";
  if (!hasFamily(ips, 6)) return [...v4, set(`net/ipv6/conf/${ifname}/accept_dad`, accept, true)];
  return [
    ...v4,
    // Every interface of the container needs it: the first that asks turns it on, and none turns it off again.
    { ...set("net/ipv6/conf/lo/disable_ipv6", "0"), possession: "shared" },
    set(`net/ipv6/conf/${ifname}/disable_ipv6`, "0"),
    set(`net/ipv6/conf/${ifname}/keep_addr_on_down`, "1"),
    set(`net/ipv6/conf/${ifname}/ndisc_notify`, "1"),
    ...(dad ? [set(`net/ipv6/conf/${ifname}/enhanced_dad`, "1")] : []),
    ...(dad === "optimistic"
      ? ["optimistic_dad", "use_optimistic"].map((key) => set(`net/ipv6/conf/${ifname}/${key}`, "1", true))
      : []),
    set(`net/ipv6/conf/${ifname}/accept_dad`, accept),
  ];
}

/**
 * All of the container's interface but the link itself: parameters, up, addresses, routes. Without a lease, a link that
 * is up.
 */
export function containerEnd(
  ifname: string,
  lease: Pick<Result, "ips" | "routes"> | undefined,
  dad: Dad,
): NetObject[] {
  const up: NetObject = { kind: "link-up", possession: "exclusive", place: "container", link: ifname };
  if (lease === undefined) return [up];
  return [
    ...containerSysctls(ifname, lease.ips, dad),
    up,
    ...lease.ips.map(({ address }): NetObject => ({
      kind: "address",
      possession: "exclusive",
      place: "container",
      link: ifname,
      address,
      dad,
      connectedRoute: true,
    })),
    ...containerRoutes(ifname, lease),
  ];
}

/** The routes that IPAM gave; one without a gateway gets the first gateway of its family. */
export const containerRoutes = (link: string, lease: Pick<Result, "ips" | "routes">): NetObject[] =>
  lease.routes.map(({ dst, gw, ...rest }) => {
    const gateway = gw ?? gatewayOf(lease.ips, dst.ip.family);
    return {
      kind: "route",
      possession: "exclusive",
      place: "container",
      link,
      dst,
      ...(gateway ? { gateway } : {}),
      ...rest,
    };
  });

/**
 * Forwarding for the families that have an address. Without `accept_ra` = 2 a host that begins to forward IPv6 stops
 * to listen to its own router; the links that do are told to go on first.
 */
export function forwarding(ips: readonly ResultIp[], facts: Facts): NetObject[] {
  const set = (key: string, value: string): NetObject => ({
    kind: "sysctl",
    possession: "shared",
    place: "host",
    key,
    value,
  });
  const listening = hasFamily(ips, 6)
    ? facts.routerAdvertised.map((l) => set(`net/ipv6/conf/${l.name}/accept_ra`, "2"))
    : [];
  return [
    ...(hasFamily(ips, 4) ? [set("net/ipv4/ip_forward", "1")] : []),
    ...listening,
    ...(hasFamily(ips, 6) ? [set("net/ipv6/conf/all/forwarding", "1")] : []),
  ];
}

/** One firewall object with these rules, or none without rules. */
export function firewall(
  backend: Backend,
  rules: readonly FirewallRule[],
  of: { readonly network: string; readonly containerId: string },
  iptables?: FirewallState["iptables"],
): NetObject[] {
  if (rules.length === 0) return [];
  const { network, containerId } = of;
  const state = { backend, rules, network, containerId, ...(iptables ? { iptables } : {}) };
  return [{ kind: "firewall", possession: "exclusive", state }];
}

export const masqueradeRules = (ips: readonly ResultIp[]): FirewallRule[] =>
  ips.map(({ address }) => ({ kind: "masquerade", address: address.ip, subnet: network(address) }));

/** What the older versions cannot say fails before anything is made. */
export function requireGateway(ip: ResultIp): Ip {
  if (ip.gateway === undefined)
    throw new NetError("config/invalid", {
      field: "ipam",
      why: `the IPAM plugin gave ${ip.address.text} no gateway`,
    });
  return ip.gateway;
}
