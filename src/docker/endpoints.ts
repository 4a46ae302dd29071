/** Calls about endpoints: a container's interface from its making to its end. */
import { errorText } from "../cni/errors.ts";
import { invalid, type JsonObject } from "../cni/json.ts";
import { contains, defaultRoute, type Family, type Ip } from "../net/ip.ts";
import type { IfName } from "../net/ifname.ts";
import { localMac, type Mac } from "../net/mac.ts";
import {
  type Book,
  dropEndpoint,
  endpointKey,
  inTurn,
  type KnownEndpoint,
  type KnownNetwork,
  putEndpoint,
} from "./book.ts";
import { bindingOf } from "./decode.ts";
import { done } from "./failure.ts";
import type { AskedPort, Endpoint, Network } from "./model.ts";
import { choosePorts, type TakenPort } from "./ports.ts";
import {
  askedName,
  readCreateEndpoint,
  readEndpointId,
  readJoin,
  readProgramExternal,
  unknownOptions,
  withMac,
} from "./requests.ts";
import { thingOf } from "./task.ts";

/** Endpoints at a time. */
export const ENDPOINTS = 65_536;

function networkOf({ networks }: Book, id: string): KnownNetwork {
  return (
    networks.get(id) ??
    invalid("NetworkID", `there is no network ${id} here; remove it from Docker and create it again`)
  );
}

function endpointOf({ endpoints }: Book, networkId: string, endpointId: string): KnownEndpoint {
  return (
    endpoints.get(endpointKey(networkId, endpointId)) ??
    invalid(
      "EndpointID",
      `there is no endpoint ${endpointId} here; disconnect the container and connect it again`,
    )
  );
}

/** Nothing is made yet: a container that never starts leaves no link behind. */
export async function createEndpoint(book: Book, request: JsonObject): Promise<object> {
  const asked = readCreateEndpoint(request, "");
  const unknown = unknownOptions(request);
  if (unknown.length > 0)
    book.setup.log(`endpoint ${asked.id}: without meaning here, and left out: ${unknown.join(", ")}`);
  const key = endpointKey(asked.networkId, asked.id);
  await removeGone(book, asked);
  return inTurn(book, key, () => {
    const { network } = networkOf(book, asked.networkId);
    const known = book.endpoints.get(key);
    if (known === undefined && book.endpoints.size >= ENDPOINTS)
      invalid("EndpointID", `there are ${ENDPOINTS} endpoints already; remove containers`);
    for (const { ip, text } of asked.addresses)
      if (!network.subnets.some(({ pool }) => contains(pool, ip)))
        invalid("Interface", `${text} is in no subnet of network ${network.id}`);
    if (network.mode === "ipvlan" && asked.mac)
      invalid(
        "Interface.MacAddress",
        "links of an ipvlan have the address of their parent; ask for none, or choose mode macvlan",
      );
    // A repeated call gets the answer that the first one got.
    const drawn = known?.endpoint.mac ?? macFor(asked);
    const mac = network.mode === "ipvlan" || asked.mac ? undefined : drawn;
    const raw = mac === undefined ? kept(request) : withMac(kept(request), mac);
    putEndpoint(book, { raw, endpoint: readCreateEndpoint(raw, ""), open: known?.open ?? [], ended: false });
    // Docker refuses what it gave itself.
    return Promise.resolve({ Interface: mac === undefined ? {} : { MacAddress: mac } });
  });
}

/**
 * The same for the same address: neighbours know the container that had it last by that one's hardware address, and older
 * releases of Docker do not tell them of a new one.
 */
function macFor({ addresses: [first] }: Endpoint): Mac {
  if (first === undefined) return localMac(crypto.getRandomValues(new Uint8Array(6)));
  return localMac(new Bun.CryptoHasher("sha256").update(`docker ${first.ip.text}`).digest());
}

const kept = ({ NetworkID, EndpointID, Interface, Options }: JsonObject): JsonObject => ({
  NetworkID,
  EndpointID,
  Interface: Interface ?? {},
  Options,
});

/** All that is known of it, for `docker network inspect`. */
export function endpointInfo(book: Book, request: JsonObject): object {
  const { NetworkID, EndpointID } = readEndpointId(request, "");
  const { endpoint, open } = endpointOf(book, NetworkID, EndpointID);
  const { mac } = endpoint;
  return {
    Value: {
      ...(mac ? { "com.docker.network.endpoint.macaddress": mac } : {}),
      "com.docker.network.portmap": open.map(bindingOf),
    },
  };
}

export async function deleteEndpoint(book: Book, request: JsonObject): Promise<object> {
  const { NetworkID, EndpointID } = readEndpointId(request, "");
  await removeEndpoint(book, NetworkID, EndpointID);
  return {};
}

/** One that cannot be removed is kept as ended: Docker goes on as if it were gone, whatever it is answered. */
function removeEndpoint(book: Book, networkId: string, endpointId: string): Promise<void> {
  const key = endpointKey(networkId, endpointId);
  return inTurn(book, key, async () => {
    const known = book.endpoints.get(key);
    // What is not known may have lost its file: its marks tell.
    const ports = known?.open.length === 0 ? [] : [thingOf("ports", networkId, endpointId)];
    const what = [...ports, thingOf("endpoint", networkId, endpointId)];
    try {
      await done(book.setup.run({ kind: "remove", what }));
    } catch (e) {
      if (known?.ended === false) putEndpoint(book, { ...known, ended: true });
      throw e;
    }
    dropEndpoint(book, key);
  });
}

/**
 * Removes what Docker believes to be gone, before it is in somebody's way: endpoints that could not be removed, and those
 * whose address it gives to another one of their network, since it has been told of their end and this plugin was not.
 */
async function removeGone(book: Book, asked: Endpoint): Promise<void> {
  const texts = asked.addresses.map(({ ip }) => ip.text);
  const gone = [...book.endpoints.values()].filter(
    ({ endpoint, ended }) =>
      ended ||
      (endpoint.networkId === asked.networkId &&
        endpoint.id !== asked.id &&
        endpoint.addresses.some(({ ip }) => texts.includes(ip.text))),
  );
  for (const { endpoint } of gone)
    try {
      await removeEndpoint(book, endpoint.networkId, endpoint.id);
      book.setup.log(`endpoint ${endpoint.id}: removed, since Docker has ended it before`);
    } catch (e) {
      book.setup.log(`endpoint ${endpoint.id}: still cannot be removed: ${errorText(e)}`);
    }
}

export async function join(book: Book, request: JsonObject): Promise<object> {
  const { NetworkID, EndpointID, SandboxKey: sandbox } = readJoin(request, "");
  return inTurn(book, endpointKey(NetworkID, EndpointID), async () => {
    const { raw, network } = networkOf(book, NetworkID);
    const known = endpointOf(book, NetworkID, EndpointID);
    const where = sandbox === undefined ? {} : { sandbox };
    const task = { kind: "endpoint", network: raw, endpoint: known.raw, ...where } as const;
    const { link = "" } = await done(book.setup.run(task));
    return joined(network, known.endpoint, link, askedName(known.raw));
  });
}

/** NEXTHOP and CONNECTED of libnetwork's `types.StaticRoute`. */
const ROUTE_TYPE = { nextHop: 0, connected: 1 } as const;

/**
 * What Docker does in the sandbox: the link that it moves there, its name, and the ways out.
 * @param name asked for; Docker before 29.8 makes one of the prefix all the same
 */
export function joined(network: Network, endpoint: Endpoint, link: string, name?: IfName): object {
  const way = (family: Family): Ip | undefined =>
    network.internal ? undefined : gatewayFor(network, endpoint, family);
  const routed = network.mode === "ipvlan" && network.kind !== "l2";
  // In layer 3 modes nobody answers for a gateway: everything is on the link.
  const everywhere =
    routed && !network.internal ? endpoint.addresses.map(({ ip }) => defaultRoute(ip.family)) : [];
  const [gateway4, gateway6] = routed ? [] : [way(4), way(6)];
  return {
    InterfaceName: { SrcName: link, DstPrefix: network.prefix, ...(name ? { DstName: name } : {}) },
    ...(gateway4 ? { Gateway: gateway4.text } : {}),
    ...(gateway6 ? { GatewayIPv6: gateway6.text } : {}),
    StaticRoutes: [
      ...everywhere.map((dst) => ({ Destination: dst.text, RouteType: ROUTE_TYPE.connected })),
      ...network.routes.map(({ dst, gateway }) =>
        gateway
          ? { Destination: dst.text, RouteType: ROUTE_TYPE.nextHop, NextHop: gateway.text }
          : { Destination: dst.text, RouteType: ROUTE_TYPE.connected },
      ),
    ],
    // Docker would add a network of its own to a container without a gateway.
    DisableGatewayService: true,
  };
}

/** The gateway of the subnet that the endpoint's address is in. */
function gatewayFor({ subnets }: Network, { addresses }: Endpoint, family: Family): Ip | undefined {
  const own = addresses.find(({ ip }) => ip.family === family);
  return own && subnets.find(({ pool, gateway }) => gateway && contains(pool, own.ip))?.gateway?.ip;
}

/**
 * The link stays until DeleteEndpoint: at this moment it is still in the sandbox, and Docker moves it back by its name.
 */
export function leave(request: JsonObject): object {
  readEndpointId(request, "");
  return {};
}

export async function programExternal(book: Book, request: JsonObject): Promise<object> {
  const { networkId, endpointId, asked } = readProgramExternal(request, "");
  return inTurn(book, endpointKey(networkId, endpointId), async () => {
    const { raw, network } = networkOf(book, networkId);
    const known = endpointOf(book, networkId, endpointId);
    const wanted = asked ?? known.endpoint.asked;
    if (network.mode !== "bridge" || network.internal) {
      if (wanted.length > 0)
        book.setup.log(
          `endpoint ${endpointId}: host ports lead to networks of mode bridge alone that are not internal; ` +
            `${wanted.length} of ${network.mode}${network.internal ? ", internal," : ""} are left out`,
        );
      return {};
    }
    if (wanted.length === 0) return {};
    const { hostBinding } = network;
    const open = choose(book, networkId, endpointId, wanted, hostBinding);
    // On disk before it is in the kernel: what is known is removed.
    putEndpoint(book, { ...known, open });
    try {
      const task = { kind: "ports", network: raw, endpoint: known.raw, open: open.map(bindingOf) } as const;
      await done(book.setup.run(task));
    } catch (e) {
      putEndpoint(book, { ...known, open: [] });
      throw e;
    }
    for (const { hostIp, hostPort, containerPort, protocol } of open)
      book.setup.log(
        `endpoint ${endpointId}: ${hostIp ? `${hostIp.text} ` : ""}port ${hostPort}/${protocol} of the host leads to port ${containerPort}`,
      );
    return {};
  });
}

function choose(
  book: Book,
  networkId: string,
  endpointId: string,
  wanted: readonly AskedPort[],
  binding: Ip | undefined,
) {
  const mine = endpointKey(networkId, endpointId);
  const others = [...book.endpoints].flatMap(([key, { endpoint, open }]): TakenPort[] =>
    key === mine
      ? []
      : open.map((port) => ({ ...port, owner: `endpoint ${endpoint.id} of network ${endpoint.networkId}` })),
  );
  return choosePorts(wanted, [...others, ...book.setup.host.listening()], binding);
}

export async function revokeExternal(book: Book, request: JsonObject): Promise<object> {
  const { NetworkID, EndpointID } = readEndpointId(request, "");
  const key = endpointKey(NetworkID, EndpointID);
  return inTurn(book, key, async () => {
    const known = book.endpoints.get(key);
    if (known?.open.length === 0) return {};
    await done(book.setup.run({ kind: "remove", what: [thingOf("ports", NetworkID, EndpointID)] }));
    if (known !== undefined) putEndpoint(book, { ...known, open: [] });
    return {};
  });
}
