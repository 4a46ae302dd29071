/** The cluster as this host may use it, and what its kernel should hold for it. Pure. */
import type { HostState } from "../fabric/host-state.ts";
import type { FabricNode, Subnets, Trouble, UnreadableNode, View } from "../fabric/model.ts";
import { type IpPrefix, overlaps, width } from "../net/ip.ts";
import type { AgentState, Carriage, CarrierWish, Host, Rules } from "./model.ts";
import { bounded, type Telling, telling } from "./tellings.ts";

export interface Made {
  readonly view: View;
  readonly wanted: HostState;
  readonly troubles: readonly Trouble[];
  /** The one of before if it says the same. */
  readonly carriage: Carriage;
}

/** The nodes by the store, or by what was known before until it has told them. */
export const knownNodes = ({ nodes, recalled }: AgentState): AgentState["nodes"] => nodes ?? recalled?.nodes;

/** How many peers there are: with a process that carries packets, those that it was told of. */
export function toldPeers({ view, carriage, carried }: AgentState): number {
  const peers = view?.peers.length ?? 0;
  return carriage?.wish === undefined ? peers : Math.min(peers, carried?.wish?.peers.length ?? 0);
}

/** True if the process that carries packets has made its device, or none is needed. */
export const hasCarrier = ({ carriage, carried }: AgentState): boolean =>
  carried?.wish?.device === carriage?.wish?.device;

/** Undefined as long as something is not known that it is made of. */
export function makeView(state: AgentState, rules: Rules): Made | undefined {
  const { joined, host, self } = state;
  const nodes = knownNodes(state);
  if (joined === undefined || host === undefined || self === undefined || nodes === undefined)
    return undefined;
  const { whole, transport } = joined.network;
  const troubles: Trouble[] = [];
  const usable: (FabricNode | UnreadableNode)[] = [];
  const locals = foreignLocals(host, whole, self, state.kernel.links);
  for (const node of nodes.values()) {
    const own = "why" in node || node.id === self.id ? undefined : overlapWith(locals, node);
    if (own === undefined) usable.push(node);
    else troubles.push({ code: "subnet-overlap", node: node.id, why: own });
  }
  const checked = rules.viewOf({ network: whole, self, nodes: usable, publics: transport.publics });
  const desired = transport.desired(checked.view, host.facts);
  return {
    view: checked.view,
    wanted: desired.state,
    troubles: [...troubles, ...checked.troubles, ...desired.troubles],
    carriage: sameOr(state.carriage, {
      wish: kept(state, joined.network.carriage?.(checked.view, host.facts)),
    }),
  };
}

const kept = ({ nodes }: AgentState, wish: CarrierWish | undefined): CarrierWish | undefined =>
  wish === undefined || nodes !== undefined ? wish : { ...wish, keep: true };

function sameOr(before: Carriage | undefined, now: Carriage): Carriage {
  const [a, b] = [before?.wish, now.wish];
  if (before === undefined || a === undefined || b === undefined)
    return before !== undefined && a === b ? before : now;
  const same =
    a.device === b.device &&
    a.mtuBytes === b.mtuBytes &&
    a.listen.text === b.listen.text &&
    a.port === b.port &&
    a.keep === b.keep &&
    Bun.deepEquals(a.own, b.own) &&
    a.peers.length === b.peers.length &&
    a.peers.every((peer, i) => peer === b.peers[i]);
  return same ? before : now;
}

type Locals = Host["locals"];

/**
 * Networks on links that are not the fabric's: those of containers that still have an earlier subnet, above all. What
 * overlaps with a subnet of this host now is the view's affair.
 */
function foreignLocals(
  { locals }: Host,
  whole: Subnets,
  { subnets: own }: FabricNode,
  links: readonly string[],
): Locals {
  const meets = ({ v4, v6 }: Subnets, prefix: IpPrefix): boolean =>
    (v4 !== undefined && overlaps(v4, prefix)) || (v6 !== undefined && overlaps(v6, prefix));
  return locals.filter(
    ({ link, prefix }) =>
      prefix.bits < width(prefix.ip) && !links.includes(link) && meets(whole, prefix) && !meets(own, prefix),
  );
}

/** A route to the peer would take away what this host reaches by one of its own links. */
function overlapWith(locals: Locals, { subnets }: FabricNode): string | undefined {
  for (const subnet of [subnets.v4, subnets.v6]) {
    if (subnet === undefined) continue;
    const found = locals.find(({ prefix }: { readonly prefix: IpPrefix }) => overlaps(prefix, subnet));
    if (found !== undefined)
      return `${subnet.text} overlaps ${found.prefix.text}, which this host has on ${found.link}`;
  }
  return undefined;
}

const keyOf = ({ code, node, why }: Trouble): string => `${code} ${node} ${why}`;

/** What is new among the troubles, and which nodes are free of them now. */
export function tellTroubles(before: readonly Trouble[], after: readonly Trouble[]): readonly Telling[] {
  if (before.length === 0 && after.length === 0) return [];
  const known = new Set(before.map(keyOf));
  const troubled = new Set(after.map(({ node }) => node));
  const refused = after
    .filter((t) => !known.has(keyOf(t)))
    .map((t) =>
      telling(
        t.code === "public-address-twice" ? "node-doubtful" : "node-refused",
        `${t.code}: ${t.why}`,
        t.node,
      ),
    );
  const accepted = [...new Set(before.map(({ node }) => node))]
    .filter((node) => !troubled.has(node))
    .map((node) => telling("node-accepted", "nothing is wrong with it any more, or it is gone", node));
  return [...bounded(refused, "nodes"), ...bounded(accepted, "nodes")];
}
