/**
 * Docker's calls, read: the network driver's and the IPAM driver's of libnetwork's remote protocol. Keys that are not known
 * are left alone, since each release of Docker adds some.
 */
import {
  anyObject,
  anything,
  type Decode,
  dictionary,
  flag,
  invalid,
  isObject,
  type JsonObject,
  object,
  parsed,
  required,
  text,
  withDefault,
} from "../cni/json.ts";
import { contains, type IpPrefix, isUnspecified, network as networkOf } from "../net/ip.ts";
import { macToBytes, type Mac, parseMac } from "../net/mac.ts";
import type { IfName } from "../net/ifname.ts";
import { ifName, orNone } from "../plugins/shared/option-words.ts";
import { bounded, id, ip, ipPrefix, portBinding } from "./decode.ts";
import type { AskedPort, Endpoint, Network, Subnet } from "./model.ts";
import { readOptions } from "./options.ts";

const GENERIC = "com.docker.network.generic";
const INTERNAL = "com.docker.network.internal";
const PORTMAP = "com.docker.network.portmap";

/** A network has one subnet for each `--subnet`. */
const SUBNETS = 64;

const optionalObject: Decode<JsonObject> = (value, at) => anyObject(value ?? {}, at);
const anyFlag: Decode<boolean> = (value, at) =>
  typeof value === "string" ? value.toLowerCase() === "true" : flag(value, at);

const ipamData = object({
  Pool: required(ipPrefix),
  Gateway: orNone(ipPrefix),
});
const readNetwork = object({
  NetworkID: required(id),
  Options: withDefault(optionalObject, {}),
  IPv4Data: withDefault(bounded(ipamData, SUBNETS), []),
  IPv6Data: withDefault(bounded(ipamData, SUBNETS), []),
});

/** The options of the driver among those of a network. */
export const driverOptions = (request: JsonObject): JsonObject => {
  const options = isObject(request["Options"]) ? request["Options"] : {};
  const own = options[GENERIC];
  return own === undefined || own === null ? {} : anyObject(own, `Options["${GENERIC}"]`);
};

/** The request with a parent for what has none. */
export const withParent = (request: JsonObject, parent: string): JsonObject => ({
  ...request,
  Options: {
    ...(isObject(request["Options"]) ? request["Options"] : {}),
    [GENERIC]: { ...driverOptions(request), parent },
  },
});

/** CreateNetwork. @throws config/invalid */
export const readCreateNetwork: Decode<Network> = (value, at) => {
  const request = readNetwork(value, at);
  const internal = request.Options[INTERNAL];
  const network: Network = {
    ...readOptions(driverOptions(anyObject(value, at)), request.NetworkID),
    id: request.NetworkID,
    internal:
      internal === undefined || internal === null ? false : anyFlag(internal, `Options["${INTERNAL}"]`),
    subnets: [...subnetsOf(request.IPv4Data, "IPv4Data"), ...subnetsOf(request.IPv6Data, "IPv6Data")],
  };
  if (network.mode === "ipvlan" && network.kind !== "l2") return network;
  for (const { dst, gateway } of network.routes)
    if (gateway && !network.subnets.some(({ pool }) => contains(pool, gateway)))
      invalid("routes", `gateway ${gateway.text} of ${dst.text} is in no subnet of the network`);
  return network;
};

/** The IPAM driver `null` gives a subnet of everything, which is none. */
const subnetsOf = (
  data: readonly { readonly Pool: IpPrefix; readonly Gateway?: IpPrefix | undefined }[],
  at: string,
): Subnet[] =>
  data.flatMap(({ Pool, Gateway }, i) => {
    if (Pool.bits === 0 && isUnspecified(Pool.ip)) return [];
    const pool = networkOf(Pool);
    if (Gateway && !contains(pool, Gateway.ip))
      return invalid(`${at}[${i}].Gateway`, `${Gateway.text} is not in ${pool.text}`);
    return [{ pool, ...(Gateway ? { gateway: Gateway } : {}) }];
  });

/** The address of one link. */
const linkMac: Decode<Mac> = (value, at) => {
  const mac = parsed(parseMac)(value, at);
  return ((macToBytes(mac)[0] ?? 0) & 1) === 1 || mac === "00:00:00:00:00:00"
    ? invalid(at, `${mac} is no address of a single link (multicast or zero)`)
    : mac;
};

const readEndpoint = object({
  NetworkID: required(id),
  EndpointID: required(id),
  Interface: withDefault(
    object({ Address: orNone(ipPrefix), AddressIPv6: orNone(ipPrefix), MacAddress: orNone(linkMac) }),
    {},
  ),
  Options: withDefault(optionalObject, {}),
});

/** Host ports, as `-p` lists them. */
const readPorts: Decode<readonly AskedPort[]> = bounded(portBinding);
const portsIn = (options: JsonObject): readonly AskedPort[] | undefined => {
  const given = options[PORTMAP];
  return given === undefined || given === null ? undefined : readPorts(given, `Options["${PORTMAP}"]`);
};

/** CreateEndpoint. @throws config/invalid */
export const readCreateEndpoint: Decode<Endpoint> = (value, at) => {
  const { NetworkID, EndpointID, Interface, Options } = readEndpoint(value, at);
  const { Address, AddressIPv6, MacAddress } = Interface;
  if (Address?.ip.family === 6) return invalid("Interface.Address", `${Address.text} is not IPv4`);
  if (AddressIPv6?.ip.family === 4)
    return invalid("Interface.AddressIPv6", `${AddressIPv6.text} is not IPv6`);
  return {
    networkId: NetworkID,
    id: EndpointID,
    addresses: [Address, AddressIPv6].filter((a) => a !== undefined),
    ...(MacAddress ? { mac: MacAddress } : {}),
    asked: portsIn(Options) ?? [],
  };
};

/** Keys of an endpoint that Docker sees to itself, or that come in other ways as well. */
const DOCKERS: readonly string[] = [
  PORTMAP,
  "com.docker.network.endpoint.dnsservers",
  "com.docker.network.endpoint.exposedports",
  "com.docker.network.endpoint.macaddress",
  "com.docker.network.endpoint.sysctls",
];
const IFNAME = "com.docker.network.endpoint.ifname";
const readNamed = object({ [IFNAME]: orNone(ifName) });

const optionsOf = ({ Options }: JsonObject): JsonObject => optionalObject(Options, "Options");

/** What the container's interface is to be called, if `--driver-opt` says it. */
export const askedName = (request: JsonObject): IfName | undefined =>
  readNamed(optionsOf(request), "Options")[IFNAME];

/**
 * Looks at the options of an endpoint that are about to be accepted. Those of others than Docker are somebody's mistake.
 * @returns keys of Docker's that mean nothing here: its next release may have more of them
 * @throws config/invalid
 */
export function unknownOptions(request: JsonObject): readonly string[] {
  askedName(request);
  const others = Object.keys(optionsOf(request)).filter((key) => key !== IFNAME && !DOCKERS.includes(key));
  const foreign = others.find((key) => !key.startsWith("com.docker."));
  return foreign === undefined
    ? others
    : invalid(`Options.${foreign}`, `is no option of an endpoint of this driver; there is ${IFNAME}`);
}

/** The request with the MAC address that was drawn for it. */
export const withMac = (request: JsonObject, mac: Mac): JsonObject => ({
  ...request,
  Interface: { ...(isObject(request["Interface"]) ? request["Interface"] : {}), MacAddress: mac },
});

export const readNetworkId = object({ NetworkID: required(id) });
export const readEndpointId = object({ NetworkID: required(id), EndpointID: required(id) });

/** PATH_MAX (linux/limits.h), its last zero included. */
const PATH = 4096;
/** What is there is looked at by those who go there: Docker may make the namespace after this. */
const sandboxPath: Decode<string> = (value, at) => {
  const path = text(value, at);
  return path.startsWith("/") && path.length < PATH && !path.includes("\0")
    ? path
    : invalid(at, `must be an absolute path of fewer than ${PATH} characters`);
};
export const readJoin = object({
  NetworkID: required(id),
  EndpointID: required(id),
  SandboxKey: orNone(sandboxPath),
});

const readExternal = object({
  NetworkID: required(id),
  EndpointID: required(id),
  Options: withDefault(optionalObject, {}),
});
/** ProgramExternalConnectivity; `asked` is absent if it says nothing of ports. */
export const readProgramExternal: Decode<{
  readonly networkId: string;
  readonly endpointId: string;
  readonly asked?: readonly AskedPort[];
}> = (value, at) => {
  const { NetworkID, EndpointID, Options } = readExternal(value, at);
  const asked = portsIn(Options);
  return { networkId: NetworkID, endpointId: EndpointID, ...(asked ? { asked } : {}) };
};

/** GwAllocCheck: the options of a network that is about to be made. */
export const readGwAllocCheck = object({ Options: withDefault(optionalObject, {}) });

/** Most characters of a name that Docker passes through. */
const NAME = 256;
const name: Decode<string> = (value, at) => {
  const word = text(value, at);
  return word.length > NAME ? invalid(at, `is longer than ${NAME} characters`) : word;
};

export const readRequestPool = object({
  AddressSpace: withDefault(name, ""),
  Pool: orNone(ipPrefix),
  SubPool: orNone(ipPrefix),
  Options: withDefault(dictionary(anything), {}),
  V6: withDefault(flag, false),
});
export const readPoolId = object({ PoolID: required(name) });
export const readRequestAddress = object({
  PoolID: required(name),
  Address: orNone(ip),
  Options: withDefault(dictionary(anything), {}),
});
export const readReleaseAddress = object({ PoolID: required(name), Address: required(ip) });

/** DiscoverNew and DiscoverDelete tell of other hosts, which a network of one host does not need. */
export const readDiscovery = object({ DiscoveryType: anything, DiscoveryData: anything });
