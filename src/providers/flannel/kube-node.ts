/** A node of Kubernetes as a host of a Flannel network: its subnets are given by the cluster, the rest by its annotations. */
import { isObject } from "../../cni/json.ts";
import type { FabricNode, Subnets, UnreadableNode } from "../../fabric/model.ts";
import type { KubeObject } from "../../fabric/store/kubernetes/client.ts";
import { bad, good, type Parsed } from "../../net/brand.ts";
import { type IpPrefix, network, parsePrefix } from "../../net/ip.ts";
import { type AnnotationNames, type Annotations, isManaged, readAnnouncement } from "./kube-annotations.ts";

/** Which families the network has: the cluster may have more. */
export interface Families {
  readonly v4: boolean;
  readonly v6: boolean;
}

/** A node with what its annotations say; undefined if it is no part of the network. */
export function fabricNodeOf(
  node: KubeObject,
  names: AnnotationNames,
  families: Families,
): FabricNode | UnreadableNode | undefined {
  const { name: id } = node;
  const annotations = annotationsOf(node);
  if (!isManaged(names, annotations)) return undefined;
  const subnets = subnetsOf(node, families);
  if (!subnets.ok) return { id, why: subnets.why };
  if (subnets.value.v4 === undefined && subnets.value.v6 === undefined)
    return { id, why: "the cluster has given it no podCIDR" };
  const told = readAnnouncement(names, annotations);
  return told.ok ? { id, subnets: subnets.value, ...told.value } : { id, why: told.why };
}

/** What the cluster has given the node, of these families; empty if it has not yet. */
export function subnetsOf(node: KubeObject, families: Families): Parsed<Subnets> {
  const spec = node.body["spec"];
  if (!isObject(spec)) return good({});
  const { podCIDR, podCIDRs } = spec;
  const given: readonly unknown[] = Array.isArray(podCIDRs) && podCIDRs.length > 0 ? podCIDRs : [podCIDR];
  const found: { v4?: IpPrefix; v6?: IpPrefix } = {};
  for (const text of given) {
    if (text === undefined || text === null || text === "") continue;
    const prefix = typeof text === "string" ? parsePrefix(text.slice(0, 64)) : bad("is no text");
    if (!prefix.ok) return bad(`podCIDRs: ${prefix.why}`);
    const key = prefix.value.ip.family === 4 ? "v4" : "v6";
    if (found[key] !== undefined) return bad(`podCIDRs: two of IP${key}`);
    found[key] = network(prefix.value);
  }
  return good({
    ...(families.v4 && found.v4 ? { v4: found.v4 } : {}),
    ...(families.v6 && found.v6 ? { v6: found.v6 } : {}),
  });
}

/** The annotations of an object; what is no text is none. */
export function annotationsOf({ body }: KubeObject): Annotations {
  const metadata = body["metadata"];
  const annotations = isObject(metadata) ? metadata["annotations"] : undefined;
  if (!isObject(annotations)) return {};
  return Object.fromEntries(
    Object.entries(annotations).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])),
  );
}

const UNAVAILABLE = "NetworkUnavailable";
const REASON = "FlannelIsUp";

/** True if the node says that its network is there, in flanneld's words. */
export function isAvailable({ body }: KubeObject): boolean {
  const status = body["status"];
  const conditions: unknown = isObject(status) ? status["conditions"] : undefined;
  if (!Array.isArray(conditions)) return false;
  const found = (conditions as readonly unknown[])
    .filter(isObject)
    .find((condition) => condition["type"] === UNAVAILABLE);
  return found?.["status"] === "False" && found["reason"] === REASON;
}

/** The patch that says so: pods are scheduled onto the node from then on. */
export function availablePatch(now: Date): object {
  const time = `${now.toISOString().slice(0, 19)}Z`;
  const condition = {
    type: UNAVAILABLE,
    status: "False",
    lastHeartbeatTime: time,
    lastTransitionTime: time,
    reason: REASON,
    message: "Flannel is running on this node",
  };
  return { status: { conditions: [condition] } };
}
