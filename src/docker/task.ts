/**
 * What the plugin tells a child to do in the kernel, and what the child answers. One task, one process: a call that waits for
 * a lock or for another program keeps nobody else waiting, and the plugin itself never enters a namespace.
 */
import {
  anyObject,
  anything,
  type Decode,
  type JsonObject,
  object,
  oneOf,
  required,
  text,
  withDefault,
} from "../cni/json.ts";
import type { Owner } from "../netstate/owner.ts";
import { bounded, openPort } from "./decode.ts";
import type { Endpoint, Network, OpenPort } from "./model.ts";
import { readCreateEndpoint, readCreateNetwork } from "./requests.ts";

/** Networks, endpoints and ports as Docker or `bindingOf` wrote them. */
export type Task =
  | { readonly kind: "network"; readonly network: JsonObject }
  | {
      readonly kind: "endpoint";
      readonly network: JsonObject;
      readonly endpoint: JsonObject;
      /** Path of the namespace that Docker moves the link to. */
      readonly sandbox?: string;
    }
  | {
      readonly kind: "ports";
      readonly network: JsonObject;
      readonly endpoint: JsonObject;
      readonly open: readonly object[];
    }
  | { readonly kind: "remove"; readonly what: readonly Thing[] };

/** What has a record of its own in the kernel. */
export interface Thing {
  readonly what: "network" | "endpoint" | "ports";
  readonly networkId: string;
  /** Empty for a network. */
  readonly endpointId: string;
}

export type Answer =
  /** `link`: the container's interface in the host, of an endpoint. */
  | { readonly kind: "done"; readonly link?: string }
  /** With the code and the details of the error, if it was one of ours. */
  | {
      readonly kind: "failed";
      readonly why: string;
      readonly code?: string;
      readonly detail?: unknown;
      /** The name of the kernel's error behind it. */
      readonly errno?: string;
    };

/** Who owns what in the kernel. What the interface is called in the sandbox is Docker's affair. */
export const ownerOf = ({ what, networkId, endpointId }: Thing): Owner => ({
  component: what === "endpoint" ? "docker" : `docker-${what}`,
  network: networkId,
  containerId: endpointId,
  ifname: what === "network" ? "" : "eth",
});

export const thingOf = (what: Thing["what"], networkId: string, endpointId = ""): Thing => ({
  what,
  networkId,
  endpointId,
});

const readKind = object({ kind: required(oneOf("network", "endpoint", "ports", "remove")) });
const network = required<Network>(readCreateNetwork);
const endpoint = required<Endpoint>(readCreateEndpoint);
const thing: Decode<Thing> = object({
  what: required(oneOf("network", "endpoint", "ports")),
  networkId: required(text),
  endpointId: required(text),
});
const readers = {
  network: object({ network }),
  endpoint: object({ network, endpoint, sandbox: text }),
  ports: object({ network, endpoint, open: required(bounded<OpenPort>(openPort)) }),
  remove: object({ what: required(bounded(thing, 100_000)) }),
} as const;

/** A task, with what is in it read. */
export type Work =
  | { readonly kind: "network"; readonly network: Network }
  | {
      readonly kind: "endpoint";
      readonly network: Network;
      readonly endpoint: Endpoint;
      readonly sandbox?: string;
    }
  | {
      readonly kind: "ports";
      readonly network: Network;
      readonly endpoint: Endpoint;
      readonly open: readonly OpenPort[];
    }
  | { readonly kind: "remove"; readonly what: readonly Thing[] };

export const readTask: Decode<Work> = (value, at) => {
  const { kind } = readKind(value, at);
  switch (kind) {
    case "network":
      return { kind, ...readers.network(value, at) };
    case "endpoint":
      return { kind, ...readers.endpoint(value, at) };
    case "ports":
      return { kind, ...readers.ports(value, at) };
    case "remove":
      return { kind, ...readers.remove(value, at) };
  }
};

export const readAnswer: Decode<Answer> = (value, at) => {
  const { kind } = object({ kind: required(oneOf("done", "failed")) })(value, at);
  if (kind === "done") return { kind, ...object({ link: text })(value, at) };
  const failed = object({ why: withDefault(text, ""), code: text, detail: anything, errno: text });
  return { kind, ...failed(anyObject(value, at), at) };
};
