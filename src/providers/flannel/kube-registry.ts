/**
 * The registry of a Flannel network in the nodes of Kubernetes, as flanneld keeps it with `--kube-subnet-mgr`: the cluster gives
 * each node its subnets, and each host writes into the annotations of its node how it is reached.
 */
import { readFileSync } from "node:fs";
import { fromSystem, isNetError, NetError } from "../../errors.ts";
import type { Publics, Subnets } from "../../fabric/model.ts";
import { type AccessOptions, clusterAccess } from "../../fabric/store/kubernetes/access.ts";
import { kubeClient, type KubeClient, type KubeObject } from "../../fabric/store/kubernetes/client.ts";
import { follow, type ObjectNews } from "../../fabric/store/kubernetes/informer.ts";
import type { Backoff } from "../../fabric/store/pause.ts";
import { contains } from "../../net/ip.ts";
import { isObject } from "../../cni/json.ts";
import { type NetworkConfig, parseNetworkConfig } from "./config.ts";
import {
  ANNOTATION_PREFIX,
  type AnnotationNames,
  annotationNames,
  difference,
  nodePublics,
  nothingWritten,
  type Written,
  writtenOf,
} from "./kube-annotations.ts";
import { holdNode, type KubeHeld, NODES } from "./kube-hold.ts";
import { annotationsOf, fabricNodeOf, type Families, subnetsOf } from "./kube-node.ts";
import type { KubernetesOptions } from "./options.ts";
import type { Announcement, Lease, LeaseNews, NodeNews, Registry } from "./registry.ts";

export interface KubeRegistryOptions {
  readonly client: KubeClient;
  /** Which node is this host's; a pod is asked for it when it is needed. */
  readonly node: NodeSource;
  /** The file with the network's configuration, as a ConfigMap is mounted. */
  readonly configPath: string;
  /** `flannel.alpha.coreos.com` unless told. */
  readonly annotationPrefix?: string;
  /** Whether the node is told that its network is there; true unless told. */
  readonly setNetworkUnavailable?: boolean;
  /** When it is; at once unless told. */
  readonly ready?: Promise<unknown>;
  readonly backoff?: Backoff;
}

export interface KubeRegistry extends Registry {
  /** What somebody has written on the node for it to announce, in place of what the host finds. @throws config/invalid */
  nodePublics(): Promise<Publics>;
  /** This host's node; undefined until it was asked for once. */
  readonly nodeName: string | undefined;
}

/** @throws config/invalid if the prefix is none */
export const openKubeRegistry = (options: KubeRegistryOptions): KubeRegistry => new NodesRegistry(options);

/**
 * The same by flanneld's flags and variables. Nothing is asked of the cluster yet.
 * @throws config/invalid, config/unsupported, env/invalid, sys/call about how the cluster is reached
 */
export function kubeRegistryOf(
  { node, netConfigPath, annotationPrefix, setNodeNetworkUnavailable, ...where }: KubernetesOptions,
  env: AccessOptions["env"],
  ready?: Promise<unknown>,
): KubeRegistry {
  const { kubeconfigFile: kubeconfig, apiUrl } = where;
  const access = clusterAccess({
    env,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(apiUrl === undefined ? {} : { apiUrl }),
  });
  return openKubeRegistry({
    client: kubeClient(access),
    node,
    configPath: netConfigPath,
    annotationPrefix,
    setNetworkUnavailable: setNodeNetworkUnavailable,
    ...(ready === undefined ? {} : { ready }),
  });
}

class NodesRegistry implements KubeRegistry {
  private readonly options: KubeRegistryOptions;
  private readonly names: AnnotationNames;
  private readonly closing = new AbortController();
  private held: KubeHeld | undefined;
  nodeName: string | undefined;
  private publics: Publics | undefined;
  /** Those of the last configuration that could be read. */
  private families: { readonly are: Families; readonly changed: AbortController } | undefined;

  constructor(options: KubeRegistryOptions) {
    this.options = options;
    this.names = annotationNames(options.annotationPrefix ?? ANNOTATION_PREFIX);
  }

  async networkConfig(): Promise<string> {
    const { configPath } = this.options;
    try {
      const text = readFileSync(configPath, "utf8");
      const config = parsedOr(text);
      if (config !== undefined) this.noteFamilies(config);
      return text;
    } catch (e) {
      const isMissing = e instanceof Error && "code" in e && e.code === "ENOENT";
      const what = "network configuration of Flannel";
      throw isMissing
        ? new NetError("config/not-found", { what, where: configPath, next: MOUNT_IT }, { cause: e })
        : fromSystem(e);
    }
  }

  async nodePublics(): Promise<Publics> {
    try {
      this.publics = nodePublics(this.names, annotationsOf(await this.ownNode()));
    } catch (e) {
      // What was written there before stands for as long as nobody can be asked.
      if (this.publics === undefined || !isNetError(e, "store/unavailable")) throw e;
    }
    return this.publics;
  }

  /** What was before is of no interest: the cluster gives a node the same subnet for as long as it lives. */
  async acquire(wanted: Announcement): Promise<Lease> {
    const config = parseNetworkConfig(await this.networkConfig());
    const families = familiesOf(config);
    const node = await this.ownNode();
    const subnets = ownSubnets(node, config);
    const written = writtenOf(this.names, wanted, annotationsOf(node));
    // Who holds it now would otherwise write again what is told no longer.
    if (this.held !== undefined) this.held.wanted = wanted;
    const after = await this.write(node, written);
    const told = fabricNodeOf(after, this.names, families);
    if (told === undefined || "why" in told)
      throw new NetError("try-again", {
        why: `node ${node.name}: ${told?.why ?? "somebody else takes its annotations away"}`,
      });
    const held: KubeHeld = { node: told, wanted, subnets, families, isReleased: false };
    this.held = this.held === undefined ? held : Object.assign(this.held, held);
    return { node: told };
  }

  hold(lease: Lease, signal: AbortSignal): AsyncIterable<LeaseNews> {
    const { held } = this;
    if (held?.node.id !== lease.node.id)
      throw new TypeError(`the lease of ${lease.node.id} was not acquired here`);
    const { client, ready, setNetworkUnavailable = true } = this.options;
    return holdNode(held, {
      client,
      names: this.names,
      write: (node, written) => this.write(node, written),
      available: setNetworkUnavailable ? (ready ?? Promise.resolve()) : undefined,
      signal: this.until(signal),
      ...this.backoff(),
    });
  }

  /** All are told again when the configuration has other families than before: what is read of a node depends on them. */
  async *nodes(signal: AbortSignal): AsyncGenerator<NodeNews> {
    const until = this.until(signal);
    const { client } = this.options;
    this.noteFamilies(parseNetworkConfig(await this.networkConfig()));
    while (!until.aborted && this.families !== undefined) {
      const { are, changed } = this.families;
      const read = (node: KubeObject): ReturnType<typeof fabricNodeOf> => fabricNodeOf(node, this.names, are);
      const following = { client, place: NODES, read, ...this.backoff() };
      for await (const news of follow(following, AbortSignal.any([until, changed.signal])))
        yield nodeNewsOf(news);
    }
  }

  async release(lease: Lease): Promise<void> {
    if (this.held?.node.id === lease.node.id) this.held.isReleased = true;
    const node = await this.options.client.get(NODES, lease.node.id, this.closing.signal);
    if (node !== undefined) await this.write(node, nothingWritten(this.names));
  }

  close(): void {
    this.closing.abort(new Error("the registry is closed"));
  }

  private noteFamilies(config: NetworkConfig): void {
    const are = familiesOf(config);
    if (this.families?.are.v4 === are.v4 && this.families.are.v6 === are.v6) return;
    this.families?.changed.abort();
    this.families = { are, changed: new AbortController() };
  }

  private async ownNode(): Promise<KubeObject> {
    const { client, node: source } = this.options;
    const nodeName = (this.nodeName ??= await nodeNameOf(client, source));
    const node = await client.get(NODES, nodeName, this.closing.signal);
    if (node !== undefined) return node;
    throw new NetError("try-again", {
      why: `${client.name} has no node called ${nodeName} yet; the kubelet registers it, or NODE_NAME is another's`,
    });
  }

  /** Brings annotations into line, as flanneld does: only what differs, and by way of the status, which is all it may write. */
  private async write(node: KubeObject, written: Written): Promise<KubeObject> {
    const annotations = difference(written, annotationsOf(node));
    if (annotations === undefined) return node;
    const target = { name: node.name, subresource: "status" } as const;
    const patch = { metadata: { annotations } };
    const { signal } = this.closing;
    const after = await this.options.client.patch(NODES, target, "strategic", patch, signal);
    if (after !== undefined) return after;
    throw new NetError("try-again", { why: `node ${node.name} was deleted meanwhile` });
  }

  private until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.closing.signal]);
  }

  private backoff(): { readonly backoff?: Backoff } {
    const { backoff } = this.options;
    return backoff === undefined ? {} : { backoff };
  }
}

const MOUNT_IT =
  "in a pod it is the key net-conf.json of a ConfigMap that is mounted there; elsewhere write the file, or name another";

const familiesOf = (config: NetworkConfig): Families => ({ v4: config.enableIpv4, v6: config.enableIpv6 });

/** Undefined for a configuration that cannot be used: whoever asks for it says so. */
function parsedOr(text: string): NetworkConfig | undefined {
  try {
    return parseNetworkConfig(text);
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

/** @throws try-again while the cluster has given nothing, config/invalid if it gives what is not in the network */
function ownSubnets(node: KubeObject, config: NetworkConfig): Subnets {
  const subnets = subnetsOf(node, familiesOf(config));
  if (!subnets.ok) throw new NetError("try-again", { why: `node ${node.name}: ${subnets.why}` });
  const { v4, v6 } = subnets.value;
  if (v4 === undefined && v6 === undefined)
    throw new NetError("try-again", {
      why: `node ${node.name} has no podCIDR yet; kube-controller-manager gives it one if it runs with --allocate-node-cidrs`,
    });
  for (const [subnet, whole, key] of [
    [v4, config.v4?.network, "Network"],
    [v6, config.v6?.network, "IPv6Network"],
  ] as const)
    if (
      subnet !== undefined &&
      whole !== undefined &&
      !(subnet.bits >= whole.bits && contains(whole, subnet.ip))
    )
      throw new NetError("config/invalid", {
        field: key,
        why: `${whole.text} does not hold ${subnet.text}, the podCIDR of node ${node.name}; it has to be the cluster's --cluster-cidr`,
      });
  return subnets.value;
}

function nodeNewsOf(news: ObjectNews<NonNullable<ReturnType<typeof fabricNodeOf>>>): NodeNews {
  switch (news.kind) {
    case "all":
      return { kind: "all", nodes: [...news.objects.values()] };
    case "put":
      return { kind: "put", node: news.object };
    case "gone":
      return { kind: "gone", id: news.name };
    case "failing":
      return { kind: "failing", why: news.error.message };
    case "back":
      return { kind: "back" };
  }
}

/** Which node a host is: it was told, or its pod knows. */
export type NodeSource = { readonly name: string } | { readonly pod: string; readonly namespace: string };

/** @throws try-again while the pod is on no node or not there */
async function nodeNameOf(client: KubeClient, source: NodeSource): Promise<string> {
  if ("name" in source) return source.name;
  const { pod, namespace } = source;
  const found = await client.get({ resource: "pods", namespace }, pod);
  const spec = found?.body["spec"];
  const name = isObject(spec) ? spec["nodeName"] : undefined;
  if (typeof name === "string" && name !== "") return name;
  throw new NetError("try-again", {
    why:
      found === undefined
        ? `${client.name} has no pod ${namespace}/${pod}: POD_NAME and POD_NAMESPACE say who this is`
        : `pod ${namespace}/${pod} is on no node yet`,
  });
}
