/**
 * Networks that hold the hosts' own addresses, too: a subnet that has one of them would lead what is sent to that host to the
 * containers of another one.
 */
import { contains, type Ip, network, prefix } from "../net/ip.ts";
import { type Holders, resolved } from "./contradictions.ts";
import type { FabricNode, Publics, Subnets, Trouble } from "./model.ts";

/** Whether one of a host's addresses is one of the network. */
export const isInNetwork = ({ v4, v6 }: Subnets, publics: Publics): boolean =>
  (v4 !== undefined && publics.v4 !== undefined && contains(v4, publics.v4)) ||
  (v6 !== undefined && publics.v6 !== undefined && contains(v6, publics.v6));

/**
 * Without the subnets that hold the public address of this host or of a node that stays, and without the nodes whose address is
 * in the subnet of one that stays. Of two the one whose `id` comes first stays.
 */
export function withoutUnderlay(
  whole: Subnets,
  self: FabricNode,
  nodes: readonly FabricNode[],
  troubles: Trouble[],
): readonly FabricNode[] {
  if (![self, ...nodes].some(({ publics }) => isInNetwork(whole, publics))) return nodes;
  const left = withoutIn("v4", self, nodes, troubles);
  return withoutIn("v6", self, left, troubles);
}

type Key = keyof Subnets & keyof Publics;

function withoutIn(
  key: Key,
  self: FabricNode,
  nodes: readonly FabricNode[],
  troubles: Trouble[],
): readonly FabricNode[] {
  const lengths = [...new Set([self, ...nodes].flatMap(({ subnets }) => subnets[key]?.bits ?? []))];
  /** The subnets of all lengths that would hold it. */
  const around = (ip: Ip): readonly string[] => lengths.map((bits) => network(prefix(ip, bits)).text);
  const claim = (holders: Holders, node: FabricNode): FabricNode | undefined => {
    const [subnet, ip] = [node.subnets[key], node.publics[key]];
    const places = ip === undefined ? [] : around(ip);
    const other =
      (subnet && holders.get(`address in ${subnet.text}`)) ??
      places.map((place) => holders.get(place)).find((holder) => holder !== undefined);
    if (other !== undefined) return other;
    if (subnet !== undefined) holders.set(subnet.text, node);
    for (const place of places) holders.getOrInsert(`address in ${place}`, node);
    return undefined;
  };
  return resolved(
    self,
    nodes,
    (a, b) => (a.id < b.id ? -1 : 1),
    claim,
    (node, other) => {
      const [subnet, theirs, ip] = [node.subnets[key], other.publics[key], node.publics[key]];
      const holdsTheirs = subnet !== undefined && theirs !== undefined && contains(subnet, theirs);
      const why = holdsTheirs
        ? `its subnet ${subnet.text} holds ${theirs.text}, the public address of ${other.id}`
        : `its public address ${ip?.text ?? ""} is in ${other.subnets[key]?.text ?? ""}, the subnet of ${other.id}`;
      troubles.push({ code: "subnet-overlap", node: node.id, why });
      return holdsTheirs ? withoutSubnet(node, key) : undefined;
    },
  );
}

/** The node with what it has of the other family. */
function withoutSubnet(node: FabricNode, key: Key): FabricNode | undefined {
  const other = key === "v4" ? "v6" : "v4";
  const { [other]: kept } = node.subnets;
  return kept === undefined ? undefined : { ...node, subnets: { [other]: kept } };
}
