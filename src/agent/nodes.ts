/** The nodes that the store tells of, as the agent knows them: what news make of them, and what is told about it. Pure. */
import type { BackendData, FabricNode, UnreadableNode } from "../fabric/model.ts";
import type { NodeNews } from "../providers/flannel/registry.ts";
import { showPublics, showSubnets } from "./show.ts";
import { bounded, type Telling, telling } from "./tellings.ts";

/** What the store says of the nodes themselves. */
export type NodeChange = Exclude<NodeNews, { readonly kind: "failing" | "back" }>;

/** All nodes after the news. */
export function appliedNews(
  before: ReadonlyMap<string, FabricNode | UnreadableNode> | undefined,
  news: NodeChange,
): ReadonlyMap<string, FabricNode | UnreadableNode> {
  // What is made of a node is kept for as long as it is the same object.
  const known = (node: FabricNode | UnreadableNode): FabricNode | UnreadableNode => {
    const was = before?.get(node.id);
    return was !== undefined && keyOf(was) === keyOf(node) ? was : node;
  };
  if (news.kind === "all") return new Map(news.nodes.map((node) => [node.id, known(node)]));
  const nodes = new Map(before);
  if (news.kind === "put") nodes.set(news.node.id, known(news.node));
  else nodes.delete(news.id);
  return nodes;
}

/** Who came, changed or went by the news; `own` is this host. */
export function differences(
  before: ReadonlyMap<string, FabricNode | UnreadableNode>,
  after: ReadonlyMap<string, FabricNode | UnreadableNode>,
  news: NodeChange,
  own: string | undefined,
): readonly Telling[] {
  const ids =
    news.kind === "all"
      ? [...new Set([...before.keys(), ...after.keys()])]
      : [news.kind === "put" ? news.node.id : news.id];
  const found: Record<"node-joined" | "node-changed" | "node-left", Telling[]> = {
    "node-left": [],
    "node-joined": [],
    "node-changed": [],
  };
  for (const id of ids) {
    const [was, is] = [before.get(id), after.get(id)];
    if (id === own || (was === undefined && is === undefined)) continue;
    const code = was === undefined ? "node-joined" : is === undefined ? "node-left" : "node-changed";
    if (code === "node-changed" && keyOf(was) === keyOf(is)) continue;
    const node = is ?? was;
    // What cannot be read is told as refused, when the view is made.
    if (node !== undefined && !("why" in node)) found[code].push(telling(code, showNode(node), id));
  }
  return Object.values(found).flatMap((list) => bounded(list, "nodes"));
}

const showNode = (node: FabricNode): string =>
  [showSubnets(node.subnets), "at", showPublics(node.publics), ...overOf(node.backend)].join(" ");

/** Leases of Flannel's udp name no backend. */
const overOf = ({ type }: BackendData): readonly string[] => (type === "" ? [] : ["over", type]);

/** Two nodes with the same key say the same. Addresses print uniquely. */
const keyOf = (node: FabricNode | UnreadableNode | undefined): string =>
  node === undefined ? "" : "why" in node ? node.why : `${showNode(node)} ${JSON.stringify(node.backend)}`;
