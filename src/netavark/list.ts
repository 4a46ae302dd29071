/** A container on a network of Podman's, as what the CNI runtime takes: a list of plugins and an attachment. */
import { invalid, type JsonObject } from "../cni/json.ts";
import { type NetworkList, parseNetworkList } from "../cni/list.ts";
import type { Attachment } from "../cni/runtime.ts";
import { contains, defaultRoute, type Family, type Ip, isUnspecified, prefix } from "../net/ip.ts";
import type { Connection, Network, Published } from "./model.ts";

/** The metric of a default route whose network says none, of the container's first interface; as in netavark. */
const METRIC = 100;
/** Ports that a container may publish: each is an element of a set, and goes into the runtime's cache. */
export const PORTS = 8192;

/** The list for this container alone: its addresses are in it, so that it is detached by what it was attached by. */
export function listOf(connection: Connection): NetworkList {
  const { network } = connection;
  const list = { cniVersion: "1.1.0", name: network.name, plugins: pluginsOf(connection) };
  return parseNetworkList(JSON.stringify(list), `network ${network.name}`);
}

/** `netns` is absent if it is gone. */
export function attachmentOf(connection: Connection, netns?: string): Attachment {
  const { containerId, ifname, mac } = connection;
  const portMappings = portMappingsOf(connection);
  const capabilityArgs = {
    ...(mac ? { mac } : {}),
    ...(portMappings.length > 0 ? { portMappings } : {}),
  };
  return { containerId, ifname, capabilityArgs, ...(netns === undefined ? {} : { netns }) };
}

function pluginsOf(connection: Connection): readonly JsonObject[] {
  const { network } = connection;
  const { host } = network;
  const ipam = ipamOf(connection);
  const common = {
    ...(host.mtuBytes ? { mtu: host.mtuBytes } : {}),
    ...(ipam ? { ipam } : {}),
  };
  const capabilities = { mac: true };
  switch (host.mode) {
    case "bridge": {
      const routed = !host.internal && network.ipam === "host-local";
      return [
        {
          type: "bridge",
          bridge: host.bridge,
          isGateway: routed,
          ipMasq: routed && host.masquerade,
          hairpinMode: true,
          portIsolation: !host.betweenContainers,
          capabilities,
          ...common,
        },
        ...(routed ? [{ type: "portmap", capabilities: { portMappings: true } }] : []),
        { type: "firewall", ingressPolicy: network.isolated ? "same-bridge" : "open" },
      ];
    }
    case "macvlan":
      return [{ type: "macvlan", master: host.parent, mode: host.kind, capabilities, ...common }];
    case "vlan":
      return [{ type: "macvlan", master: host.link, mode: "bridge", capabilities, ...common }];
    case "ipvlan":
      if (connection.mac)
        invalid("network_options.static_mac", "links of ipvlan have the MAC address of their parent");
      return [{ type: "ipvlan", master: host.parent, mode: host.kind, ...common }];
  }
}

function ipamOf(connection: Connection): JsonObject | undefined {
  const { network } = connection;
  if (network.ipam === "none") return undefined;
  if (network.ipam === "dhcp") return { type: "dhcp" };
  const addresses = addressesOf(connection);
  return {
    type: "static",
    addresses: addresses.map(({ address, gateway }) => ({
      address: prefix(address, gateway.bits).text,
      ...(gateway.ip ? { gateway: gateway.ip.text } : {}),
    })),
    routes: [
      ...defaultRoutes(connection),
      ...network.routes.map(({ dst, gw, priority }) => ({
        dst: dst.text,
        gw: gw?.text,
        ...(priority === undefined ? {} : { priority }),
      })),
    ],
  };
}

interface Reserved {
  readonly address: Ip;
  readonly gateway: { readonly bits: number; readonly ip?: Ip };
}

/** Podman has reserved one address of each subnet, or those that the user named. */
function addressesOf({ network, ips }: Connection): readonly Reserved[] {
  const { subnets } = network.host;
  const direct = network.host.internal || isRouted(network);
  return ips.map((address, i) => {
    const subnet = subnets.find(({ pool }) => contains(pool, address));
    if (subnet === undefined)
      return invalid(
        `network_options.static_ips[${i}]`,
        `${address.text} is in no subnet of ${network.name}`,
      );
    const { pool, gateway } = subnet;
    return { address, gateway: { bits: pool.bits, ...(gateway && !direct ? { ip: gateway.ip } : {}) } };
  });
}

/** One of each family: a container on several networks prefers its first interface, unless the networks say more. */
function defaultRoutes(connection: Connection): readonly JsonObject[] {
  const { network, ifname } = connection;
  if (!network.defaultRoute) return [];
  const addresses = addressesOf(connection);
  const priority = network.metric ?? METRIC + Number(/\d{1,4}$/.exec(ifname)?.[0] ?? 0);
  return ([4, 6] as const).flatMap((family) => {
    const dst = defaultRoute(family).text;
    const own = addresses.filter(({ address }) => address.family === family);
    if (isRouted(network)) return own.length > 0 ? [{ dst, priority }] : [];
    const gw = own.find(({ gateway }) => gateway.ip)?.gateway.ip?.text;
    return gw === undefined ? [] : [{ dst, gw, priority }];
  });
}

/** In layer 3 modes of ipvlan nobody is asked the way: the host routes what its link gets. */
const isRouted = ({ host }: Network): boolean => host.mode === "ipvlan" && host.kind !== "l2";

/**
 * Ports of the host, one by one. What is published on an address of a family that the container does not have here is left to
 * its other networks.
 */
function portMappingsOf({ network, published, ips }: Connection): readonly JsonObject[] {
  const { host } = network;
  if (host.mode !== "bridge" || host.internal || network.ipam !== "host-local") return [];
  const families = new Set<Family>(ips.map(({ family }) => family));
  const fits = (ip: Ip | undefined): boolean => ip === undefined || families.has(ip.family);
  const bound = published.map((p) => ({ ...p, hostIp: p.hostIp ?? host.hostBinding }));
  const count = bound.reduce((sum, { range, protocols }) => sum + range * protocols.length, 0);
  if (count > PORTS) invalid("port_mappings", `publish ${count} ports; there may be ${PORTS}`);
  return bound.filter(({ hostIp }) => fits(hostIp)).flatMap(eachPort);
}

const eachPort = (
  p: Omit<Published, "hostIp"> & { readonly hostIp: Ip | undefined },
): readonly JsonObject[] =>
  Array.from({ length: p.range }, (_, i) => i).flatMap((i) =>
    p.protocols.map((protocol) => ({
      hostPort: p.hostPort + i,
      containerPort: p.containerPort + i,
      protocol,
      ...(p.hostIp && !isUnspecified(p.hostIp) ? { hostIP: p.hostIp.text } : {}),
    })),
  );

/** Fails if Podman has reserved no address of a network whose addresses it gives out. */
export function requireAddresses({ network, ips }: Connection): void {
  if (network.ipam === "host-local" && ips.length === 0)
    invalid("network_options.static_ips", "is missing: Podman gives out the addresses of this network");
}
