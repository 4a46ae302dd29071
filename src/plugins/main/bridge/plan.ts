import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { ResultIp, ResultRoute } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { addToIp, defaultRoute, network, overlaps, prefix, type IpPrefix } from "../../../net/ip.ts";
import { isZeroMac, parseMac } from "../../../net/mac.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import type { NetObject } from "../../../netstate/model.ts";
import type { Link } from "../../../rtnl/link.ts";
import { dnsOf } from "../../shared/config.ts";
import {
  containerEnd,
  firewall,
  forwarding,
  gatewayOf,
  hasFamily,
  masqueradeRules,
} from "../../shared/container.ts";
import type { BridgeConfig, VlanConfig } from "./config.ts";

/** What a `bridge` network looks like: pure functions from configuration, lease and facts to state and result. */
type Input = PlanInput<BridgeConfig>;
/** The kernel's default for virtual Ethernet. */
const DEFAULT_MTU = 1500;

export const needs = ({ config, lease }: Input): Needs => ({
  links: [
    { place: "host", name: config.bridge, addresses: config.isGateway },
    ...(config.vlans?.gateway
      ? [{ place: "host", name: config.vlans.gateway.name, addresses: true } as const]
      : []),
  ],
  routerAdvertised: config.isGateway && hasFamily(lease.ips, 6),
});

export function plan(input: Input, facts: Facts): Plan {
  const { config, ifname, netns, fresh, lease } = input;
  const found = facts.links.get(factKey("host", config.bridge));
  const own = found?.mac && !isZeroMac(found.mac) ? found.mac : undefined;
  const bridgeMac = knownMac(input) ?? own ?? fresh.bridgeMac;
  const ips = lease.ips.map((ip) => withGateway(ip, config));
  const routes = [...lease.routes, ...defaultRoutes(config, ips, lease.routes)];
  const vlanObjects = config.vlans ? inVlans(input, config.vlans, facts) : [];
  const bridgeMtu = found?.mtuBytes ?? config.mtuBytes ?? DEFAULT_MTU;
  return {
    state: {
      objects: [
        {
          kind: "bridge",
          possession: "shared",
          name: config.bridge,
          mac: bridgeMac,
          promiscuous: config.promiscMode,
          ...(config.enabledad ? {} : { dad: false }),
          ...(config.mtuBytes ? { mtuBytes: config.mtuBytes } : {}),
          ...(config.vlans ? { vlanFiltering: true } : {}),
        },
        {
          kind: "veth",
          possession: "exclusive",
          host: { name: fresh.hostLink, mac: fresh.hostMac },
          container: { name: ifname, mac: fresh.containerMac },
          port: { bridge: config.bridge, hairpin: config.hairpinMode, isolated: config.portIsolation },
          ...(config.mtuBytes ? { mtuBytes: config.mtuBytes } : {}),
        },
        ...vlanObjects,
        ...inside(input, ips, routes),
        ...(config.isGateway ? [...gateways(config, ips, facts), ...forwarding(ips, facts)] : []),
        ...firewallObjects(input, ips),
      ],
    },
    result: {
      interfaces: [
        { name: config.bridge, mac: bridgeMac, mtu: bridgeMtu },
        { name: fresh.hostLink, mac: fresh.hostMac, mtu: config.mtuBytes ?? DEFAULT_MTU },
        { name: ifname, mac: fresh.containerMac, mtu: config.mtuBytes ?? DEFAULT_MTU, sandbox: netns },
        ...vlanObjects.flatMap((o) =>
          o.kind === "vlan-gateway" ? [{ name: o.name, mac: o.mac, mtu: o.mtuBytes ?? DEFAULT_MTU }] : [],
        ),
      ],
      ips: ips.map((ip) => ({ ...ip, interface: 2 })),
      routes,
      dns: dnsOf(config.dns, lease.dns),
    },
  };
}

/** In CHECK the final result names the bridge and its address, and those of its interface in a VLAN. */
function knownMac({ config, lease }: Input, name = config.bridge): ReturnType<typeof macOrNone> {
  return macOrNone(lease.interfaces.find((i) => i.name === name && !i.sandbox)?.mac);
}
function macOrNone(text: string | undefined) {
  const parsed = text === undefined ? undefined : parseMac(text);
  return parsed?.ok ? parsed.value : undefined;
}

/** The port's VLANs, and the host's interface in one. */
function inVlans(input: Input, vlans: VlanConfig, facts: Facts): NetObject[] {
  const { config, fresh } = input;
  const { native, tagged, keepDefault, gateway } = vlans;
  const found = facts.links.get(factKey("host", config.bridge));
  // CHECK compares instead.
  if (knownMac(input) === undefined && found?.kind === "bridge") requireFiltering(found);
  const port: NetObject = {
    kind: "port-vlans",
    possession: "exclusive",
    link: fresh.hostLink,
    bridge: config.bridge,
    vlans: { ...(native === undefined ? {} : { native }), tagged },
    keepDefault,
  };
  if (gateway === undefined) return [port];
  const mtuBytes = found?.mtuBytes ?? config.mtuBytes;
  const there = facts.links.get(factKey("host", gateway.name));
  return [
    port,
    {
      kind: "vlan-gateway",
      possession: "shared",
      ...gateway,
      bridge: config.bridge,
      mac: knownMac(input, gateway.name) ?? there?.mac ?? fresh.gatewayMac,
      ...(mtuBytes ? { mtuBytes } : {}),
      keepDefault,
      ...(config.enabledad ? {} : { dad: false }),
      port: fresh.hostLink,
    },
  ];
}

/** Frames of all VLANs would reach all ports of a bridge that does not look at them. */
export function requireFiltering({ name, bridge }: Pick<Link, "name" | "bridge">): void {
  if (bridge?.vlanFiltering) return;
  if (bridge?.vlanFiltering === undefined)
    throw new NetError("feature/missing", {
      feature: "VLAN filtering of bridges",
      needs: "a kernel with CONFIG_BRIDGE_VLAN_FILTERING",
    });
  throw new NetError("config/invalid", {
    field: "bridge",
    why:
      `${name} is there and does not keep VLANs apart; name another bridge, ` +
      `or run "ip link set ${name} type bridge vlan_filtering 1" if the ports that it has allow it`,
  });
}

/** A bridge that is the gateway and was given no address for it takes the first one of the network. */
function withGateway(ip: ResultIp, config: BridgeConfig): ResultIp {
  const { interface: _, ...rest } = ip;
  if (!config.isGateway || rest.gateway !== undefined) return rest;
  return { ...rest, gateway: addToIp(network(ip.address).ip, 1n) };
}

/** A default route for each family that has none with a gateway yet. */
function defaultRoutes(
  config: BridgeConfig,
  ips: readonly ResultIp[],
  given: readonly ResultRoute[],
): ResultRoute[] {
  if (!config.isDefaultGateway) return [];
  return ([4, 6] as const).flatMap((family) => {
    const gw = gatewayOf(ips, family);
    const dst = defaultRoute(family);
    const has = given.some((r) => r.dst.text === dst.text && r.gw !== undefined);
    return gw === undefined || has ? [] : [{ dst, gw }];
  });
}

function inside(
  { config, ifname }: Input,
  ips: readonly ResultIp[],
  routes: readonly ResultRoute[],
): NetObject[] {
  if (config.disableContainerInterface) return [];
  return containerEnd(ifname, config.ipam === undefined ? undefined : { ips, routes }, config.enabledad);
}

/** The gateways as addresses of the bridge. Two networks on one bridge are refused unless `forceAddress` is set. */
function gateways(config: BridgeConfig, ips: readonly ResultIp[], facts: Facts): NetObject[] {
  const wanted = ips.flatMap(({ gateway, address }) => (gateway ? [prefix(gateway, address.bits)] : []));
  const unique = [...new Map(wanted.map((a) => [a.text, a])).values()];
  const link = config.vlans?.gateway?.name ?? config.bridge;
  const present = (facts.addresses.get(factKey("host", link)) ?? [])
    .filter((a) => !a.linkLocal)
    .map((a) => a.prefix);
  return unique.map((address) => {
    const contradicting = present.filter(
      (p) => contradicts(p, address) && !unique.some((u) => u.text === p.text),
    );
    if (contradicting.length > 0 && !config.forceAddress)
      throw new NetError("config/invalid", {
        field: "ipam",
        why: `${link === config.bridge ? "bridge " : ""}${link} already has an address different from ${address.text}: ${contradicting.map((p) => p.text).join(", ")}`,
      });
    return {
      kind: "address",
      possession: "shared",
      place: "host",
      link,
      address,
      dad: config.enabledad,
      connectedRoute: true,
      ...(contradicting.length > 0 ? { replaces: contradicting } : {}),
    };
  });
}

/** In IPv4 a bridge has one network; in IPv6 several that do not overlap. */
const contradicts = (present: IpPrefix, wanted: IpPrefix): boolean =>
  present.ip.family === wanted.ip.family &&
  present.text !== wanted.text &&
  (wanted.ip.family === 4 || overlaps(present, wanted));

function firewallObjects(input: Input, ips: readonly ResultIp[]): NetObject[] {
  const { config, fresh } = input;
  return [
    ...(config.ipMasq ? firewall(config.ipMasqBackend, masqueradeRules(ips), input) : []),
    ...(config.macspoofchk
      ? firewall("nftables", [{ kind: "mac-check", link: fresh.hostLink, mac: fresh.containerMac }], input)
      : []),
  ];
}
