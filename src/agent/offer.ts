/** What this host has for its containers: the file that their addresses are made of, and the firewall's rules. Pure. */
import type { AgentState, Offer } from "./model.ts";
import { showPublics, showSubnets } from "./show.ts";

/** `keep`: leave what is there, whatever it is. Undefined: take it away. */
export type Wish = Offer | "keep" | undefined;

/** Two offers with the same key have the same file and rules. */
export const keyOfOffer = (wish: Wish): string => {
  if (wish === undefined || wish === "keep") return String(wish);
  const { network, self, mtuBytes } = wish;
  return `${network.key} ${showSubnets(self.subnets)} ${mtuBytes}`;
};

function offerOf({ joined, host, self }: AgentState): Offer | undefined {
  if (joined === undefined || host === undefined || self === undefined) return undefined;
  const { network } = joined;
  return { network, self, mtuBytes: network.transport.mtuBytes(host.facts) };
}

/** The rules stay with a subnet that was lost, since its containers run on. */
export function firewallWish(state: AgentState): Wish {
  if (state.mode === "draining") return state.lease === undefined ? undefined : "keep";
  if (state.mode !== "running") return "keep";
  return offerOf(state) ?? "keep";
}

/**
 * Whether the subnet does not come back, as far as can be said. Who has just begun, and only knows what was before, hears
 * it from the store: that it could not be asked for says little.
 */
function isGone({ jobs, recalled, nodes, self }: AgentState): boolean {
  if (jobs.lease.failures === 0) return false;
  if (recalled === undefined || self === undefined) return true;
  const owner = nodes?.get(self.id);
  return owner !== undefined && !("why" in owner) && showPublics(owner.publics) !== showPublics(self.publics);
}

/**
 * The file comes last, when a container that starts from it has everything. It stays while the subnet may come back, and
 * goes when it does not: its addresses are another host's then.
 */
export function fileWish(state: AgentState): Wish {
  if (state.mode === "draining") return undefined;
  if (state.mode !== "running") return "keep";
  const offer = offerOf(state);
  if (offer === undefined) return "keep";
  if (state.lease === undefined) return isGone(state) ? undefined : "keep";
  const inPlace =
    state.kernel.triedFor === state.lease.node.id && state.protected === keyOfOffer(firewallWish(state));
  return inPlace ? offer : "keep";
}
