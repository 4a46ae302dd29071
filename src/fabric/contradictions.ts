/** Nodes that contradict one another, and who of them stays. */
import type { FabricNode } from "./model.ts";

/** What is claimed, in words of whoever looks, and by whom. */
export type Holders = Map<string, FabricNode>;

/**
 * The nodes of which none contradicts another or this host; who is first in the `order` stays. `claim` returns with whom a node contradicts, or undefined and
 * keeps it in mind; `lose` tells, and returns what is left of the node.
 */
export function resolved(
  self: FabricNode,
  nodes: readonly FabricNode[],
  order: (a: FabricNode, b: FabricNode) => number,
  claim: (holders: Holders, node: FabricNode) => FabricNode | undefined,
  lose: (node: FabricNode, to: FabricNode) => FabricNode | undefined,
): readonly FabricNode[] {
  const holders: Holders = new Map();
  const fate = new Map<FabricNode, FabricNode | undefined>();
  for (const node of [self, ...nodes].toSorted(order)) {
    const other = claim(holders, node);
    if (other !== undefined) fate.set(node, lose(node, other));
  }
  fate.delete(self);
  // One that comes before this host wins over it elsewhere, but not here.
  const own: Holders = new Map();
  claim(own, self);
  return nodes.flatMap((node) => {
    const left = fate.has(node) ? fate.get(node) : claim(new Map(own), node) ? lose(node, self) : node;
    return left === undefined ? [] : [left];
  });
}
