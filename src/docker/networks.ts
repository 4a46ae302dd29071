/** Calls about networks. */
import { invalid, type JsonObject, oneOf } from "../cni/json.ts";
import { stringify } from "../netstate/state-json.ts";
import {
  type Book,
  dropEndpoint,
  dropNetwork,
  endpointKey,
  endpointsOf,
  inTurn,
  putNetwork,
} from "./book.ts";
import { done } from "./failure.ts";
import type { Network } from "./model.ts";
import { driverOptions, readCreateNetwork, readGwAllocCheck, readNetworkId, withParent } from "./requests.ts";
import { thingOf } from "./task.ts";

/** Networks at a time. */
export const NETWORKS = 1024;

export async function createNetwork(book: Book, request: JsonObject): Promise<object> {
  const { NetworkID } = readNetworkId(request, "");
  return inTurn(book, NetworkID, async () => {
    const known = book.networks.get(NetworkID);
    const raw = filledIn(book, kept(request), known?.raw);
    const network = readCreateNetwork(raw, "");
    if (known !== undefined && stringify(known.network) !== stringify(network))
      invalid("NetworkID", `network ${NetworkID} is there with other options; remove it first`);
    if (known === undefined) admit(book, network);
    putNetwork(book, { raw, network });
    try {
      await done(book.setup.run({ kind: "network", network: raw }));
    } catch (e) {
      if (known === undefined) dropNetwork(book, NetworkID);
      throw e;
    }
    return {};
  });
}

/** What is kept of a request: the rest may be of any size and is never looked at again. */
const kept = ({ NetworkID, Options, IPv4Data, IPv6Data }: JsonObject): JsonObject => ({
  NetworkID,
  Options,
  IPv4Data,
  IPv6Data,
});

/** A network that names no parent gets the link of the default route, and keeps it when that changes. */
function filledIn({ setup }: Book, request: JsonObject, before: JsonObject | undefined): JsonObject {
  const options = driverOptions(request);
  const mode = options["mode"];
  if (options["parent"] || mode === undefined || mode === "bridge") return request;
  const parent = before ? driverOptions(before)["parent"] : setup.host.uplink();
  return typeof parent === "string" ? withParent(request, parent) : request;
}

/** Two networks cannot have one bridge or one VLAN: the first that goes would take it from the other. */
function admit({ networks }: Book, network: Network): void {
  if (networks.size >= NETWORKS)
    invalid("NetworkID", `there are ${NETWORKS} networks already; remove those that nobody uses`);
  const link = ownLink(network);
  for (const other of networks.values())
    if (link !== undefined && ownLink(other.network) === link)
      invalid("Options", `network ${other.network.id} has ${link} already; choose another one, or remove it`);
}

const ownLink = (network: Network): string | undefined =>
  network.mode === "bridge" ? network.bridge : network.mode === "vlan" ? network.link : undefined;

export async function deleteNetwork(book: Book, request: JsonObject): Promise<object> {
  const { NetworkID } = readNetworkId(request, "");
  return inTurn(book, NetworkID, async () => {
    const left = endpointsOf(book, NetworkID).map(({ endpoint }) => endpoint.id);
    const things = left.flatMap((id) => [
      thingOf("ports", NetworkID, id),
      thingOf("endpoint", NetworkID, id),
    ]);
    await done(book.setup.run({ kind: "remove", what: [...things, thingOf("network", NetworkID)] }));
    for (const id of left) dropEndpoint(book, endpointKey(NetworkID, id));
    dropNetwork(book, NetworkID);
    return {};
  });
}

/** In layer 3 modes of ipvlan nobody is asked the way, so that an address for a gateway would be lost. */
export function gwAllocCheck(request: JsonObject): object {
  readGwAllocCheck(request, "");
  const options = driverOptions(request);
  const mode = oneOf("", "l2", "l3", "l3s")(options["ipvlan_mode"] ?? "", "ipvlan_mode");
  const skip = options["mode"] === "ipvlan" && (mode === "l3" || mode === "l3s");
  return { SkipIPv4: skip, SkipIPv6: skip };
}
