/**
 * From what a store holds of a cluster to what a host can rely on: nodes that cannot be read, lie outside of the network or
 * contradict another one are left out and told. The time is linear in the number of nodes.
 */
import {
  contains,
  type Family,
  type Ip,
  type IpPrefix,
  isLoopback,
  isUnspecified,
  network,
  prefix,
} from "../net/ip.ts";
import { delta } from "./reconcile/delta.ts";
import { type Holders, resolved } from "./contradictions.ts";
import type { FabricNode, Subnets, Trouble, UnreadableNode, View } from "./model.ts";
import { isInNetwork, withoutUnderlay } from "./underlay.ts";

export interface Cluster {
  readonly network: Subnets;
  readonly self: FabricNode;
  /** Everybody, this host with its own `id` or without. */
  readonly nodes: readonly (FabricNode | UnreadableNode)[];
  /** Whether others may have this host's public address; the transport says it. */
  readonly publics: "distinct" | "shared";
}

const families = [4, 6] as const;
type Key = "v4" | "v6";
const keyOf = (family: Family): Key => (family === 4 ? "v4" : "v6");

export interface Checked {
  readonly view: View;
  readonly troubles: readonly Trouble[];
}

/**
 * Of nodes that contradict one another, the one whose `id` comes first stays; but of overlapping subnets first one of the
 * length that most have, so that a single node with a wide one does not take everybody's place. So every host that sees the
 * same nodes decides the same, in whatever order it heard of them. A peer that contradicts this host is left out here in
 * any case; if others prefer it, there is a trouble about this host too.
 */
export function viewOf(cluster: Cluster): Checked {
  const quick = fromLast(cluster);
  if (quick !== undefined) return quick;
  last = undefined;
  const { network: whole, self, nodes, publics } = cluster;
  const troubles: Trouble[] = [];
  const readable: FabricNode[] = [];
  for (const node of nodes) {
    if (node.id === self.id) continue;
    if ("why" in node) troubles.push({ code: "node-malformed", node: node.id, why: node.why });
    else {
      const usable = withinNetwork(node, whole, troubles);
      if (usable !== undefined) readable.push(usable);
    }
  }
  const claims = claimsOf(cluster, readable);
  if (claims !== undefined) {
    if (troubles.length === 0) last = { cluster, claims };
    return { view: { network: whole, self, peers: readable }, troubles };
  }
  const reachable = publics === "shared" ? readable : withoutTwins(self, readable, troubles);
  const apart = withoutOverlaps(self, reachable, troubles);
  return { view: { network: whole, self, peers: withoutUnderlay(whole, self, apart, troubles) }, troubles };
}

/** The node with the subnets that are the network's; undefined if none is left. */
function withinNetwork(node: FabricNode, whole: Subnets, troubles: Trouble[]): FabricNode | undefined {
  const { subnets, publics } = node;
  const wrong =
    subnets.v4 === undefined && subnets.v6 === undefined
      ? "it has no subnet"
      : (wrongPublic(publics.v4, 4) ??
        wrongPublic(publics.v6, 6) ??
        wrongSubnet(subnets.v4, 4) ??
        wrongSubnet(subnets.v6, 6) ??
        wrongPlace(subnets.v4, publics.v4) ??
        wrongPlace(subnets.v6, publics.v6));
  if (wrong !== undefined) {
    troubles.push({ code: "node-malformed", node: node.id, why: wrong });
    return undefined;
  }
  const v4 = subnets.v4 === undefined || isInside(node, subnets.v4, whole.v4, troubles);
  const v6 = subnets.v6 === undefined || isInside(node, subnets.v6, whole.v6, troubles);
  return v4 && v6
    ? node
    : withSubnets(node, [...(v4 ? (["v4"] as const) : []), ...(v6 ? (["v6"] as const) : [])]);
}

function isInside(
  node: FabricNode,
  subnet: IpPrefix,
  whole: IpPrefix | undefined,
  troubles: Trouble[],
): boolean {
  if (whole !== undefined && subnet.bits >= whole.bits && contains(whole, subnet.ip)) return true;
  const why =
    whole === undefined
      ? `${subnet.text}: the network has no IPv${subnet.ip.family}`
      : `${subnet.text} is not in the network ${whole.text}`;
  troubles.push({ code: "subnet-outside", node: node.id, why });
  return false;
}

/** The node itself if it keeps all of its subnets, so that it is known again. */
function withSubnets(node: FabricNode, keys: readonly Key[]): FabricNode | undefined {
  const { v4, v6 } = node.subnets;
  const kept = {
    ...(v4 && keys.includes("v4") ? { v4 } : {}),
    ...(v6 && keys.includes("v6") ? { v6 } : {}),
  };
  if (kept.v4 === v4 && kept.v6 === v6) return node;
  return kept.v4 === undefined && kept.v6 === undefined ? undefined : { ...node, subnets: kept };
}

function wrongPublic(ip: Ip | undefined, family: Family): string | undefined {
  if (ip === undefined) return undefined;
  if (ip.family !== family) return `its public IPv${family} address is ${ip.text}`;
  const first = ip.bytes[0] ?? 0;
  const manifold = family === 4 ? first >= 224 : first === 0xff;
  // Nothing begins with a zero byte but what is looked at closer.
  if (manifold || (first === 0 && isUnspecified(ip)) || isLoopback(ip))
    return `its public address ${ip.text} is not that of one host`;
  return undefined;
}

function wrongSubnet(subnet: IpPrefix | undefined, family: Family): string | undefined {
  if (subnet === undefined) return undefined;
  if (subnet.ip.family !== family) return `its IPv${family} subnet is ${subnet.text}`;
  if (hasHostBits(subnet)) return `its subnet ${subnet.text} has host bits`;
  return undefined;
}

/** What is sent to the host would be sent to its containers, and so to the host again. */
function wrongPlace(subnet: IpPrefix | undefined, ip: Ip | undefined): string | undefined {
  if (subnet === undefined || ip === undefined || !contains(subnet, ip)) return undefined;
  return `its public address ${ip.text} is in its own subnet ${subnet.text}`;
}

function hasHostBits({ ip: { bytes }, bits }: IpPrefix): boolean {
  let at = bits >> 3;
  const rest = bits & 7;
  if (rest > 0 && (bytes[at++] ?? 0) & (0xff >> rest)) return true;
  while (at < bytes.length) if (bytes[at++] !== 0) return true;
  return false;
}

/** What nodes have for themselves alone: their subnets, of one length in each family, and perhaps their addresses. */
interface Claims {
  readonly texts: Set<string>;
  readonly bits: { readonly v4: number | undefined; readonly v6: number | undefined };
}

/**
 * The claims of all if nobody contradicts anybody at first sight: no address and no subnet occurs twice, subnets of a family have
 * one length, and no public address is one of the network. So it is nearly always.
 */
function claimsOf(cluster: Cluster, nodes: readonly FabricNode[]): Claims | undefined {
  const { self } = cluster;
  const bitsIn = (key: Key): number | undefined =>
    self.subnets[key]?.bits ?? nodes.find((node) => node.subnets[key])?.subnets[key]?.bits;
  const claims: Claims = { texts: new Set(), bits: { v4: bitsIn("v4"), v6: bitsIn("v6") } };
  if (!claim(claims, self, cluster)) return undefined;
  for (const node of nodes) if (!claim(claims, node, cluster)) return undefined;
  return claims;
}

/** False if somebody else claims the same, or nobody can tell at first sight. */
function claim(
  { texts, bits }: Claims,
  { subnets, publics: at }: FabricNode,
  { network: whole, publics }: Cluster,
): boolean {
  const { v4, v6 } = subnets;
  if (isInNetwork(whole, at)) return false;
  if ((v4 !== undefined && v4.bits !== bits.v4) || (v6 !== undefined && v6.bits !== bits.v6)) return false;
  let expected = texts.size;
  const note = (text: string): void => {
    texts.add(text);
    expected++;
  };
  if (v4 !== undefined) note(v4.text);
  if (v6 !== undefined) note(v6.text);
  if (publics === "distinct") {
    if (at.v4 !== undefined) note(at.v4.text);
    if (at.v6 !== undefined) note(at.v6.text);
  }
  return texts.size === expected;
}

/** The last cluster of which there was nothing to say: what differs a little from it is looked at where it differs. */
let last: { readonly cluster: Cluster; readonly claims: Claims } | undefined;
/** With more differences than this everything is looked at. */
const FEW = 64;

/** The same as from the beginning, if the cluster is much like the last one; undefined if it is not, or there is something to say. */
function fromLast(cluster: Cluster): Checked | undefined {
  if (last === undefined) return undefined;
  const { network: whole, self, nodes, publics } = cluster;
  const { cluster: before, claims } = last;
  if (publics !== before.publics || !Bun.deepEquals([whole, self], [before.network, before.self]))
    return undefined;
  const { removed, added } = delta(before.nodes, nodes);
  if (removed.size + added.length > FEW) return undefined;
  for (const node of removed)
    if (!("why" in node) && node.id !== self.id)
      for (const one of [node.subnets.v4, node.subnets.v6, node.publics.v4, node.publics.v6])
        if (one !== undefined) claims.texts.delete(one.text);
  for (const node of added) {
    if (node.id === self.id) continue;
    if ("why" in node || withinNetwork(node, whole, []) !== node || !claim(claims, node, cluster))
      return undefined;
  }
  last = { cluster, claims };
  const peers = nodes.filter((node): node is FabricNode => node.id !== self.id);
  return { view: { network: whole, self, peers }, troubles: [] };
}

const byId = (a: FabricNode, b: FabricNode): number => (a.id < b.id ? -1 : 1);

/**
 * Without the nodes that have the public address of this host. Others may share one: a machine that was set up anew under
 * another name leaves such a node behind, and of the two nobody here can tell which one lives. Whoever has the address gets what is
 * sent to either.
 */
function withoutTwins(
  self: FabricNode,
  nodes: readonly FabricNode[],
  troubles: Trouble[],
): readonly FabricNode[] {
  const holders = new Map<string, FabricNode>();
  const note = (node: FabricNode): void => {
    const { v4, v6 } = node.publics;
    if (v4) holders.set(v4.text, node);
    if (v6) holders.set(v6.text, node);
  };
  note(self);
  const left = new Set<FabricNode>();
  for (const node of nodes.toSorted(byId)) {
    const { v4, v6 } = node.publics;
    const other = (v4 && holders.get(v4.text)) ?? (v6 && holders.get(v6.text));
    if (other === undefined) note(node);
    else {
      const shared = v4 && v4.text === other.publics.v4?.text ? v4 : v6;
      const why = `its public address ${shared?.text ?? ""} is also that of ${other.id}`;
      const code = other === self ? "public-address-own" : "public-address-twice";
      troubles.push({ code, node: node.id, why });
      if (other === self) left.add(node);
    }
  }
  return left.size === 0 ? nodes : nodes.filter((node) => !left.has(node));
}

/** Without the subnets that overlap with one of this host or of a node that stays. */
function withoutOverlaps(
  self: FabricNode,
  nodes: readonly FabricNode[],
  troubles: Trouble[],
): readonly FabricNode[] {
  let left = nodes;
  for (const family of families) {
    const key = keyOf(family);
    const lengths = new Map<number, number>();
    for (const { subnets } of [self, ...left])
      if (subnets[key]) lengths.set(subnets[key].bits, (lengths.get(subnets[key].bits) ?? 0) + 1);
    const [usual] = [...lengths].toSorted(([a, times], [b, others]) => others - times || b - a);
    if (usual === undefined) continue;
    const index = overlapIndex([...lengths.keys()]);
    const rank = ({ subnets }: FabricNode): number => Number(subnets[key]?.bits !== usual[0]);
    left = resolved(
      self,
      left,
      (a, b) => rank(a) - rank(b) || byId(a, b),
      (holders, node) => index(holders, node, node.subnets[key]),
      (node, other) => {
        const [mine, theirs] = [node.subnets[key]?.text ?? "", other.subnets[key]?.text ?? ""];
        const why =
          mine === theirs
            ? `its subnet ${mine} is also that of ${other.id}`
            : `its subnet ${mine} overlaps with ${theirs} of ${other.id}`;
        troubles.push({ code: "subnet-overlap", node: node.id, why });
        return withSubnets(node, key === "v4" ? ["v6"] : ["v4"]);
      },
    );
  }
  return left;
}

const noTexts: readonly string[] = [];

/**
 * Takes a subnet for a node, or tells who has one that overlaps. Of two prefixes that overlap one is inside of the other, so
 * each is looked up at the lengths that occur: usually a single one.
 */
function overlapIndex(lengths: readonly number[]) {
  const single = lengths.length === 1;
  return (holders: Holders, node: FabricNode, subnet: IpPrefix | undefined): FabricNode | undefined => {
    if (subnet === undefined) return undefined;
    // An entry `<prefix` stands for something inside of the prefix that is taken.
    const inside = holders.get(subnet.text) ?? (single ? undefined : holders.get(`<${subnet.text}`));
    if (inside !== undefined) return inside;
    const wider = single
      ? noTexts
      : lengths.filter((bits) => bits < subnet.bits).map((bits) => network(prefix(subnet.ip, bits)).text);
    for (const text of wider) {
      const around = holders.get(text);
      if (around !== undefined) return around;
    }
    holders.set(subnet.text, node);
    for (const text of wider) holders.set(`<${text}`, node);
    return undefined;
  };
}
