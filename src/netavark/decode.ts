/**
 * What comes on standard input, read: a network, and a container on it, as plugin-API.md of netavark describes them. Keys that
 * are not known are left alone, since each release of Podman adds some.
 */
import {
  anyObject,
  type Decode,
  flag,
  integer,
  invalid,
  type JsonObject,
  list,
  object,
  oneOf,
  parsed,
  required,
  text,
  withDefault,
} from "../cni/json.ts";
import type { ResultRoute } from "../cni/result.ts";
import { checkContainerId, checkIfName, checkNetworkName } from "../cni/validate.ts";
import type { Network as HostNetwork, Subnet } from "../docker/model.ts";
import {
  contains,
  type Ip,
  type IpPrefix,
  network as networkOf,
  parseIp,
  parsePrefix,
  prefix,
} from "../net/ip.ts";
import { parseMac } from "../net/mac.ts";
import { ifName, orNone, vlanLink } from "../plugins/shared/option-words.ts";
import type { Connection, Network, Published } from "./model.ts";
import { type Options, readOptions } from "./options.ts";

const ip: Decode<Ip> = parsed(parseIp);
const ipPrefix: Decode<IpPrefix> = parsed(parsePrefix);
const none: JsonObject = {};

const subnetFields = object({ subnet: required(ipPrefix), gateway: orNone(ip) });
/** One entry of `subnets`. */
export const readSubnet: Decode<Subnet> = (value, at) => {
  const { subnet, gateway } = subnetFields(value, at);
  const pool = networkOf(subnet);
  if (gateway === undefined) return { pool };
  if (!contains(pool, gateway)) return invalid(`${at}.gateway`, `${gateway.text} is not in ${pool.text}`);
  return { pool, gateway: prefix(gateway, pool.bits) };
};

const routeFields = object({
  destination: required(ipPrefix),
  gateway: orNone(ip),
  metric: integer({ min: 0, max: 0xffff_ffff }),
  route_type: text,
});
const readRoute: Decode<ResultRoute> = (value, at) => {
  const { destination, gateway, metric, route_type: type = "" } = routeFields(value, at);
  if (type !== "" && type !== "unicast")
    return invalid(`${at}.route_type`, `"${type}" is not offered; leave it out, or use unicast`);
  if (gateway === undefined) return invalid(`${at}.gateway`, "is missing");
  if (gateway.family !== destination.ip.family)
    return invalid(at, `${destination.text} via ${gateway.text} mixes IPv4 and IPv6`);
  return { dst: networkOf(destination), gw: gateway, ...(metric === undefined ? {} : { priority: metric }) };
};

const ipamDriver = object({ driver: orNone(oneOf("host-local", "dhcp", "none")) });

export const networkFields = object({
  name: required(text),
  id: required(text),
  network_interface: orNone(ifName),
  subnets: withDefault(list(readSubnet), []),
  ipv6_enabled: withDefault(flag, false),
  internal: withDefault(flag, false),
  options: withDefault(anyObject, none),
  ipam_options: withDefault<ReturnType<typeof ipamDriver>>(ipamDriver, {}),
  routes: withDefault(list(readRoute), []),
  network_dns_servers: withDefault(list(text), []),
});

/** A network as `create` has completed it. @throws config/invalid */
export const readNetwork: Decode<Network> = (value, at) => {
  const given = networkFields(value, at);
  const options = readOptions(given.options, at);
  const { mode } = options;
  const ipam = given.ipam_options.driver ?? "host-local";
  if (ipam === "dhcp" && (mode === "bridge" || mode === "ipvlan"))
    invalid("ipam_options.driver", `dhcp is for the modes macvlan and vlan, not for ${mode}`);
  if (ipam !== "host-local" && given.subnets.length > 0)
    invalid("subnets", `there are none with --ipam-driver ${ipam}`);
  if (ipam === "host-local" && given.subnets.length === 0)
    invalid("subnets", `are missing; say --subnet${mode === "bridge" ? "" : ", or --ipam-driver"}`);
  return {
    name: checkNetworkName(given.name),
    ipam,
    isolated: options.isolated,
    ...(options.metric === undefined ? {} : { metric: options.metric }),
    defaultRoute: options.defaultRoute && !given.internal,
    routes: given.routes,
    host: hostNetwork(given, options),
  };
};

function hostNetwork(given: ReturnType<typeof networkFields>, options: Options): HostNetwork {
  const { at, mode, mtuBytes, hostBinding } = options;
  const link = given.network_interface;
  if (link === undefined) return invalid("network_interface", "is missing");
  const common = {
    id: given.id,
    internal: given.internal,
    subnets: given.subnets,
    ...(mtuBytes ? { mtuBytes } : {}),
    prefix: "eth",
    routes: [],
  };
  switch (mode) {
    case "bridge": {
      const { masquerade, betweenContainers } = options;
      const bound = hostBinding ? { hostBinding } : {};
      return { ...common, mode, bridge: link, masquerade, betweenContainers, ...bound };
    }
    case "macvlan":
      return { ...common, mode, parent: link, kind: options.macvlanMode };
    case "ipvlan":
      return { ...common, mode, parent: link, kind: options.ipvlanMode };
    case "vlan": {
      const { vlan } = options;
      if (vlan === undefined) return invalid(`${at}.vlan`, "is missing; say -o vlan=ID, 1 to 4094");
      return { ...common, mode, parent: link, vlan, link: vlanLink(link, vlan, at) };
    }
  }
}

const PROTOCOLS = ["tcp", "udp", "sctp"] as const;
const protocols: Decode<Published["protocols"]> = (value, at) =>
  text(value, at)
    .split(",")
    .map((word) => oneOf(...PROTOCOLS)(word.trim().toLowerCase() || "tcp", at));
const port = integer({ min: 1, max: 65535 });
const publishedFields = object({
  container_port: required(port),
  host_port: required(port),
  range: withDefault(integer({ min: 0, max: 65535 }), 1),
  protocol: withDefault(protocols, ["tcp"]),
  host_ip: orNone(ip),
});
const readPublished: Decode<Published> = (value, at) => {
  const p = publishedFields(value, at);
  const range = Math.max(p.range, 1);
  const most = Math.max(p.container_port, p.host_port) + range - 1;
  if (most > 65535) return invalid(`${at}.range`, `${range} ports from there on go up to ${most}`);
  return {
    protocols: p.protocol,
    containerPort: p.container_port,
    hostPort: p.host_port,
    range,
    ...(p.host_ip ? { hostIp: p.host_ip } : {}),
  };
};

/** `--network NAME:KEY=VALUE` with a key that is the driver's. */
const noOptions: Decode<undefined> = (value, at) => {
  const [key] = Object.keys(anyObject(value, at));
  return key === undefined ? undefined : invalid(`${at}.${key}`, "is not offered; leave it out");
};

const connectionFields = object({
  container_id: required(text),
  port_mappings: withDefault(list(readPublished), []),
  network: required(readNetwork),
  network_options: required(
    object({
      interface_name: required(text),
      static_ips: withDefault(list(ip), []),
      static_mac: orNone(parsed(parseMac)),
      options: noOptions,
    }),
  ),
});

/** What comes with `setup`. @throws config/invalid, env/invalid */
export const readConnection: Decode<Connection> = (value, at) => {
  const given = connectionFields(value, at);
  const { interface_name: ifname, static_ips: ips, static_mac: mac } = given.network_options;
  return {
    network: given.network,
    containerId: checkContainerId(given.container_id),
    ifname: checkIfName(ifname),
    ips,
    ...(mac ? { mac } : {}),
    published: given.port_mappings,
  };
};

const keyFields = object({
  container_id: required(text),
  network: required(object({ name: required(text) })),
  network_options: required(object({ interface_name: required(text) })),
});

/** Who is to be disconnected: of the same input, what has to be right for `teardown`. @throws config/invalid, env/invalid */
export const readConnectionKey: Decode<{
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}> = (value, at) => {
  const given = keyFields(value, at);
  return {
    network: checkNetworkName(given.network.name),
    containerId: checkContainerId(given.container_id),
    ifname: checkIfName(given.network_options.interface_name),
  };
};
