/**
 * Docker's calls by their paths: a request in, an answer out. Nothing here knows of sockets, and nothing calls Docker, which
 * may be waiting for this very answer.
 */
import type { ToldCall, ToldFailure } from "../cni/journal.ts";
import { anyObject, type JsonObject, object, parseJson } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import type { Book } from "./book.ts";
import {
  createEndpoint,
  deleteEndpoint,
  endpointInfo,
  join,
  leave,
  programExternal,
  revokeExternal,
} from "./endpoints.ts";
import { id } from "./decode.ts";
import { failureText, toldFailure } from "./failure.ts";
import type { HttpRequest, Status } from "./http.ts";
import {
  addressSpaces,
  ipamCapabilities,
  releaseAddress,
  releasePool,
  requestAddress,
  requestPool,
} from "./ipam.ts";
import { createNetwork, deleteNetwork, gwAllocCheck } from "./networks.ts";
import { readDiscovery } from "./requests.ts";
import { ownerOf, thingOf } from "./task.ts";

export interface Reply {
  readonly status: Status;
  readonly body: object;
}

type Call = (book: Book, request: JsonObject) => object | Promise<object>;

const discovery: Call = (_, request) => {
  readDiscovery(request, "");
  return {};
};

/** A network of this driver is one host's: swarm managers have nothing to allocate for it. */
const ofSwarm: Call = () => {
  throw new NetError("config/unsupported", {
    field: "scope",
    value: "global",
    why: "networks of this driver are those of one host; create the network on each host, without --scope swarm",
  });
};

const calls: Readonly<Record<string, Call>> = {
  "/Plugin.Activate": () => ({ Implements: ["NetworkDriver", "IpamDriver"] }),
  "/NetworkDriver.GetCapabilities": () => ({
    Scope: "local",
    ConnectivityScope: "local",
    GwAllocChecker: true,
  }),
  "/NetworkDriver.GwAllocCheck": (_, request) => gwAllocCheck(request),
  "/NetworkDriver.AllocateNetwork": ofSwarm,
  "/NetworkDriver.FreeNetwork": () => ({}),
  "/NetworkDriver.CreateNetwork": createNetwork,
  "/NetworkDriver.DeleteNetwork": deleteNetwork,
  "/NetworkDriver.CreateEndpoint": createEndpoint,
  "/NetworkDriver.EndpointOperInfo": endpointInfo,
  "/NetworkDriver.DeleteEndpoint": deleteEndpoint,
  "/NetworkDriver.Join": join,
  "/NetworkDriver.Leave": (_, request) => leave(request),
  "/NetworkDriver.DiscoverNew": discovery,
  "/NetworkDriver.DiscoverDelete": discovery,
  "/NetworkDriver.ProgramExternalConnectivity": programExternal,
  "/NetworkDriver.RevokeExternalConnectivity": revokeExternal,
  "/IpamDriver.GetCapabilities": () => ipamCapabilities(),
  "/IpamDriver.GetDefaultAddressSpaces": () => addressSpaces(),
  "/IpamDriver.RequestPool": requestPool,
  "/IpamDriver.ReleasePool": releasePool,
  "/IpamDriver.RequestAddress": requestAddress,
  "/IpamDriver.ReleaseAddress": releaseAddress,
};

/** Calls that Docker makes without a body. */
const BARE: readonly string[] = [
  "/Plugin.Activate",
  "/NetworkDriver.GetCapabilities",
  "/IpamDriver.GetCapabilities",
  "/IpamDriver.GetDefaultAddressSpaces",
];
/** Docker's client asks again when it got no answer, and has nothing to send then but the head of its request. */
const EMPTY =
  "Docker lost this request when the plugin ended in the middle of it, and sent an empty one; try again";

/** The key of an error's text, which differs by driver. */
const errorKey = (path: string): "Err" | "Error" => (path.startsWith("/IpamDriver.") ? "Error" : "Err");

/** Answers one request. Never rejects: Docker prints the text of what went wrong. */
export async function handle(book: Book, { method, path, body }: HttpRequest): Promise<Reply> {
  const call = Object.hasOwn(calls, path) ? calls[path] : undefined;
  if (call === undefined) return { status: 404, body: { Err: `heddle has no call ${path}` } };
  if (method !== "POST") return { status: 405, body: { Err: `call ${path} with POST` } };
  if (body === "" && !BARE.includes(path)) return { status: 200, body: { [errorKey(path)]: EMPTY } };
  let request: JsonObject;
  try {
    request = body === "" ? {} : anyObject(parseJson(body, "the request"), "the request");
  } catch (e) {
    return { status: 400, body: { Err: failureText(e) } };
  }
  const verb = path.slice(1);
  const began = performance.now();
  const tell = (failure?: ToldFailure): void => {
    const tookMs = performance.now() - began;
    book.setup.tell({ plugin: "docker", verb, ...concerned(request), tookMs, failure });
  };
  try {
    const body = await call(book, request);
    tell();
    return { status: 200, body };
  } catch (e) {
    const failure = toldFailure(e);
    book.setup.log(`${verb} failed: ${failure.why}`);
    tell(failure);
    return { status: 200, body: { [errorKey(path)]: failure.why } };
  }
}

const readConcerned = object({ NetworkID: id, EndpointID: id });

/** Whom a call is about: an attachment, a network alone, or nobody who could be named. */
function concerned(request: JsonObject): Pick<ToldCall, "network" | "containerId" | "ifname"> {
  try {
    const { NetworkID: network, EndpointID } = readConcerned(request, "");
    if (network === undefined || EndpointID === undefined) return { network };
    const { containerId, ifname } = ownerOf(thingOf("endpoint", network, EndpointID));
    return { network, containerId, ifname };
  } catch (e) {
    // It was refused for that.
    if (e instanceof NetError) return {};
    throw e;
  }
}
