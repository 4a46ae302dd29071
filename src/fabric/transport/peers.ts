/** What transports have in common: going through the peers family by family, and keeping what was made of each. */
import type { Family, Ip, IpPrefix } from "../../net/ip.ts";
import type { FabricRoute } from "../host-state.ts";
import type { FabricNode, Json, Trouble, View } from "../model.ts";
import type { HostFacts } from "./transport.ts";

/** A peer in one family, checked as far as every transport asks. */
export interface Far {
  readonly node: FabricNode;
  readonly subnet: IpPrefix;
  readonly publicIp: Ip;
  /** Its words for this family. */
  readonly data: Json | undefined;
}

/** What one peer brings in one family, or why it brings nothing. */
export type Made<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly trouble: Trouble };

export const made = <T>(value: T): Made<T> => ({ ok: true, value });
export const trouble = (
  code: Trouble["code"],
  node: FabricNode,
  why: string,
): { ok: false; trouble: Trouble } => ({
  ok: false,
  trouble: { code, node: node.id, why },
});

/**
 * Calls `make` once for a peer, and takes what it said then for as long as the peer and `host` are the same objects: a
 * cluster of thousands changes by one node at a time. Peers without a subnet of the family are passed over: undefined.
 */
export function perPeer<T>(
  type: string,
  family: Family,
  make: (far: Far, host: HostFacts) => Made<T>,
): (node: FabricNode, host: HostFacts) => Made<T> | undefined {
  let known = new WeakMap<FabricNode, { readonly made: Made<T> | undefined }>();
  let knownFor: HostFacts | undefined;
  const key = family === 4 ? "v4" : "v6";
  const makeNew = (node: FabricNode, host: HostFacts): Made<T> | undefined => {
    const subnet = node.subnets[key];
    if (subnet === undefined) return undefined;
    if (node.backend.type !== type)
      return trouble("backend-other", node, `its backend is ${node.backend.type}, not ${type}`);
    const publicIp = node.publics[key];
    if (publicIp === undefined) return trouble("unreachable", node, `it has no public IPv${family} address`);
    return make({ node, subnet, publicIp, data: node.backend[key] }, host);
  };
  return (node, host) => {
    if (host !== knownFor) [known, knownFor] = [new WeakMap(), host];
    const before = known.get(node);
    if (before !== undefined) return before.made;
    const now = makeNew(node, host);
    known.set(node, { made: now });
    return now;
  };
}

/** The families in which this host has a subnet and an address in the underlay. */
export const familiesOf = ({ self }: View, { local }: HostFacts): readonly Family[] =>
  ([4, 6] as const).filter((family) => {
    const key = family === 4 ? "v4" : "v6";
    return self.subnets[key] !== undefined && local[key] !== undefined;
  });

/** To a host that is on the link of the underlay. */
export const directRoute = ({ subnet, publicIp }: Far, { external }: HostFacts): FabricRoute => ({
  dst: subnet,
  link: external.name,
  gateway: publicIp,
});
