/**
 * What networks, endpoints and their ports look like in the kernel: pure functions from what Docker asked for, and facts,
 * to states. Everything is in the host's namespace, where Docker finds a container's interface and moves it into the
 * sandbox itself.
 */
import type { ForwardKeeper } from "../firewall/forward-keeper.ts";
import type { Backend, FirewallRule, FirewallState, PortMapping } from "../firewall/model.ts";
import { invalid } from "../cni/json.ts";
import { type IpPrefix, isLoopback, isUnspecified, network as networkOf } from "../net/ip.ts";
import { isZeroMac, type Mac } from "../net/mac.ts";
import { type Facts, factKey, type Needs } from "../netstate/facts.ts";
import type { NetObject, NetState, Of } from "../netstate/model.ts";
import { passingName, vethName } from "../netstate/owner.ts";
import { forwarding } from "../plugins/shared/container.ts";
import type { LinkType } from "../rtnl/kinds.ts";
import { linkTypeOf } from "../rtnl/kinds.ts";
import type { Link } from "../rtnl/link.ts";
import type { BridgeNetwork, Endpoint, Network, OpenPort, ParentNetwork, Subnet } from "./model.ts";

/** What is drawn for a plan, so that it is pure: addresses for what is made new. */
export interface Fresh {
  readonly bridgeMac: Mac;
  readonly hostMac: Mac;
  readonly containerMac: Mac;
}

const gatewaysOf = (subnets: readonly Subnet[]): readonly IpPrefix[] =>
  subnets.flatMap(({ gateway }) => gateway ?? []);
const hasIpv6 = ({ subnets }: Network): boolean => subnets.some(({ pool }) => pool.ip.family === 6);

// ---- networks

export const networkNeeds = (network: Network): Needs =>
  network.mode === "bridge"
    ? {
        links: [{ place: "host", name: network.bridge, addresses: true }],
        routerAdvertised: !network.internal && hasIpv6(network),
      }
    : {
        links: [
          { place: "host", name: network.parent },
          ...(network.mode === "vlan" ? [{ place: "host", name: network.link } as const] : []),
        ],
      };

export const networkPlan = (network: Network, facts: Facts, fresh: Fresh): NetState => ({
  objects: network.mode === "bridge" ? bridgeObjects(network, facts, fresh) : parentObjects(network, facts),
});

/** The bridge is the network's own, unless one of its name is there: that keeps all that it has. */
function bridgeObjects(network: BridgeNetwork, facts: Facts, fresh: Fresh): NetObject[] {
  const { bridge, mtuBytes, subnets, internal } = network;
  const found = facts.links.get(factKey("host", bridge));
  const present = new Set((facts.addresses.get(factKey("host", bridge)) ?? []).map((a) => a.prefix.text));
  const mac = found?.mac && !isZeroMac(found.mac) ? found.mac : fresh.bridgeMac;
  const gateways = gatewaysOf(subnets);
  return [
    {
      kind: "bridge",
      possession: found ? "shared" : "exclusive",
      name: bridge,
      mac,
      promiscuous: false,
      dad: false,
      ...(mtuBytes ? { mtuBytes } : {}),
    },
    ...gateways.map((address): NetObject => ({
      kind: "address",
      place: "host",
      link: bridge,
      address,
      dad: false,
      connectedRoute: true,
      ...(found && !present.has(address.text)
        ? { possession: "exclusive", foreignLink: true }
        : { possession: "shared" }),
    })),
    ...(internal
      ? noWayOut(network)
      : forwarding(
          gateways.map((address) => ({ address })),
          facts,
        )),
  ];
}

/**
 * The host forwards nothing between the bridge and any other link, whatever routes a container or a neighbour has. For IPv6 the
 * kernel forwards on all links or on none, which is why there are rules; for IPv4 the setting of the link holds without them.
 */
function noWayOut({ id, bridge }: BridgeNetwork): NetObject[] {
  return [
    {
      kind: "sysctl",
      possession: "borrowed",
      place: "host",
      key: `net/ipv4/conf/${bridge}/forwarding`,
      value: "0",
    },
    {
      kind: "firewall",
      possession: "exclusive",
      state: {
        backend: "nftables",
        rules: [{ kind: "closed-link", link: bridge }],
        network: id,
        containerId: "",
      },
    },
  ];
}

/** The parent is somebody else's; the link of a VLAN is the network's own, unless it is there. */
function parentObjects(network: ParentNetwork, facts: Facts): NetObject[] {
  const parent = parentOf(network, facts);
  if (network.mtuBytes !== undefined && network.mtuBytes > parent.mtuBytes)
    invalid(
      "com.docker.network.driver.mtu",
      `${network.mtuBytes} is more than the ${parent.mtuBytes} of ${parent.name}`,
    );
  if (network.mode !== "vlan") return [];
  const { link: name, vlan: id } = network;
  const found = facts.links.get(factKey("host", name));
  if (found !== undefined) {
    const type = linkTypeOf(found);
    if (type?.kind === "vlan" && type.id === id && found.peerIndex === parent.index) return [];
    invalid("vlan", `${name} is there already and is not VLAN ${id} of ${parent.name}; rename or remove it`);
  }
  return [
    {
      kind: "link",
      possession: "exclusive",
      place: "host",
      name,
      type: { kind: "vlan", id },
      lower: { place: "host", name: parent.name },
    },
    { kind: "link-up", possession: "exclusive", place: "host", link: name },
  ];
}

function parentOf({ parent }: ParentNetwork, facts: Facts): Link {
  const link = facts.links.get(factKey("host", parent));
  if (link === undefined) return invalid("parent", `there is no interface ${parent} in the host`);
  if (link.loopback) return invalid("parent", `${parent} is the loopback, which carries no other link`);
  if (!link.up) return invalid("parent", `${parent} is down, and what hangs on it with it; set it up`);
  return link;
}

// ---- endpoints

/** The name of a container's interface as long as it is in the host. */
export const sourceName = (mark: string): string => passingName(mark);

export const endpointNeeds = (network: Network): Needs =>
  network.mode === "bridge" ? { forwardKeeper: true } : {};

/** @param mark of the endpoint's owner, from which links have their names */
export const endpointPlan = (
  network: Network,
  endpoint: Endpoint,
  facts: Pick<Facts, "forwardKeeper">,
  { mark, fresh }: { readonly mark: string; readonly fresh: Fresh },
): NetState => ({
  objects:
    network.mode === "bridge"
      ? [pair(network, endpoint, mark, fresh), ...passage(network, endpoint, facts.forwardKeeper ?? "nobody")]
      : [onParent(network, endpoint, mark)],
});

function pair(network: BridgeNetwork, { mac }: Endpoint, mark: string, fresh: Fresh): NetObject {
  return {
    kind: "veth",
    possession: "exclusive",
    host: { name: vethName(mark), mac: fresh.hostMac },
    container: { name: sourceName(mark), mac: mac ?? fresh.containerMac, place: "host" },
    port: { bridge: network.bridge, hairpin: false, isolated: !network.betweenContainers },
    ...(network.mtuBytes ? { mtuBytes: network.mtuBytes } : {}),
  };
}

function onParent(network: ParentNetwork, { mac }: Endpoint, mark: string): Of<"link"> {
  const type: LinkType =
    network.mode === "ipvlan"
      ? { kind: "ipvlan", mode: network.kind }
      : { kind: "macvlan", mode: network.mode === "macvlan" ? network.kind : "bridge" };
  return {
    kind: "link",
    possession: "exclusive",
    place: "host",
    movesAway: true,
    name: sourceName(mark),
    type,
    lower: { place: "host", name: network.mode === "vlan" ? network.link : network.parent },
    ...(mac && network.mode !== "ipvlan" ? { mac } : {}),
    ...(network.mtuBytes ? { mtuBytes: network.mtuBytes } : {}),
  };
}

/** Where somebody drops what nobody allowed, it is allowed there (decision 16). */
const backendFor: Readonly<Record<ForwardKeeper, Backend>> = {
  firewalld: "firewalld",
  iptables: "iptables",
  nobody: "nftables",
};

/**
 * The way out of the network, and none from it into another one. Where br_netfilter shows bridged frames to the host's rules,
 * containers of one network need to be let through as well, also of one without a way out.
 */
function passage(network: BridgeNetwork, endpoint: Endpoint, keeper: ForwardKeeper): NetObject[] {
  const { addresses } = endpoint;
  const accepted = addresses.map(({ ip }): FirewallRule => ({ kind: "accept-forward", address: ip }));
  const own = addresses.flatMap((address): FirewallRule[] => [
    ...(network.masquerade && !network.internal
      ? [{ kind: "masquerade" as const, address: address.ip, subnet: networkOf(address) }]
      : []),
    { kind: "ingress-policy", bridge: network.bridge, address: address.ip, isolated: false },
  ]);
  const backend = backendFor[keeper];
  return [
    ...firewallOf(endpoint, "nftables", own),
    ...(backend === "nftables" ? [] : firewallOf(endpoint, backend, accepted)),
  ];
}

function firewallOf(
  { networkId, id }: Endpoint,
  backend: Backend,
  rules: readonly FirewallRule[],
): NetObject[] {
  if (rules.length === 0) return [];
  const state: FirewallState = { backend, rules, network: networkId, containerId: id };
  return [{ kind: "firewall", possession: "exclusive", state }];
}

// ---- ports

export const portsNeeds: Needs = { forwardKeeper: true };

/** Ports of the host that lead to the endpoint: to the address of the family that they are opened for, or to both. */
export function portsPlan(
  network: BridgeNetwork,
  endpoint: Endpoint,
  open: readonly OpenPort[],
  { forwardKeeper }: Pick<Facts, "forwardKeeper">,
): NetState {
  const mappings = open.flatMap((port) => mappingsOf(endpoint, port));
  const targets = new Map(mappings.map(({ target }) => [target.text, target]));
  const letThrough = [...targets.values()].map((address): FirewallRule => ({
    kind: "accept-mapped",
    address,
  }));
  const fromLoopback = mappings.some(
    (m) => m.target.family === 4 && (m.hostIp === undefined || isLoopback(m.hostIp)),
  );
  return {
    // The guard that comes with the rules has to be there before the sysctl opens the way.
    objects: [
      ...firewallOf(endpoint, "nftables", mappings),
      // firewalld lets through what was translated by itself.
      ...(forwardKeeper === "iptables" ? firewallOf(endpoint, "iptables", letThrough) : []),
      ...(fromLoopback
        ? [
            {
              kind: "sysctl" as const,
              possession: "shared" as const,
              place: "host" as const,
              key: `net/ipv4/conf/${network.bridge}/route_localnet`,
              value: "1",
            },
          ]
        : []),
    ],
  };
}

function mappingsOf({ addresses }: Endpoint, port: OpenPort): PortMapping[] {
  const { hostIp } = port;
  const fitting = addresses.filter(({ ip }) => hostIp === undefined || hostIp.family === ip.family);
  // Docker asks for `0.0.0.0` and `::` at once, whatever the container has.
  if (fitting.length === 0 && hostIp && isUnspecified(hostIp) && addresses.length > 0) return [];
  if (fitting.length === 0)
    return invalid(
      "HostIP",
      hostIp === undefined
        ? `the container has no address that port ${port.hostPort} could lead to`
        : `${hostIp.text} is of another family than the container's addresses; publish the port on one of theirs`,
    );
  return fitting.map((address) => ({
    kind: "port-mapping",
    protocol: port.protocol,
    ...(hostIp && !isUnspecified(hostIp) ? { hostIp } : {}),
    hostPort: port.hostPort,
    target: address.ip,
    targetPort: port.containerPort,
    subnet: networkOf(address),
    masquerade: "local",
  }));
}
