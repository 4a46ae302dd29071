import type { NetlinkSocket } from "../netlink/socket.ts";
import type { NftFamily } from "../nft/attrs.ts";
import type { Expr } from "../nft/expr.ts";
import { listChains, listRules } from "../nft/list.ts";
import type { ChainInfo, Rule } from "../nft/model.ts";
import { inetTable } from "./nftables-layout.ts";

/**
 * What others have loaded beside us, as far as it decides over containers. A packet passes only if every chain at a hook
 * lets it pass: no rule of ours can allow what another chain drops, so all that can be done is to name that chain.
 */
export interface ForwardDrop {
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  /** `policy`: what no rule accepts is dropped. `last rule`: the same, by a final rule (firewalld). */
  readonly by: "policy" | "last rule";
}

/** The families that routed packets pass. */
const ROUTED: readonly NftFamily[] = ["inet", "ip", "ip6"];

/**
 * Base chains of others at the forward hook that drop what they do not know. The rules in them may still accept the
 * traffic of containers. Sees what is in nftables, thus also what iptables-nft loaded; the older iptables-legacy keeps
 * its tables elsewhere.
 */
export function findForwardDrops(socket: NetlinkSocket): ForwardDrop[] {
  return listChains(socket).flatMap((c) => {
    if (c.base?.hook !== "forward" || c.base.type !== "filter" || !ROUTED.includes(c.family)) return [];
    if (c.family === inetTable.family && c.table === inetTable.table) return [];
    const by = dropsBy(socket, c, c.base.policy);
    return by === undefined ? [] : [{ family: c.family, table: c.table, chain: c.chain, by }];
  });
}

function dropsBy(
  socket: NetlinkSocket,
  c: ChainInfo,
  policy: "accept" | "drop",
): ForwardDrop["by"] | undefined {
  const last = listRules(socket, c, c.chain).at(-1);
  if (last && isFinal(last, isAccept)) return undefined;
  if (last && isFinal(last, isRefusal)) return "last rule";
  return policy === "drop" ? "policy" : undefined;
}

/** Expressions that let every packet go on to the next expression. */
const idle = (e: Expr): boolean => e.kind === "counter" || (e.kind === "opaque" && e.name === "log");
const isAccept = (e: Expr): boolean => e.kind === "immediate" && e.verdict === "accept";
const isRefusal = (e: Expr): boolean =>
  (e.kind === "immediate" && e.verdict === "drop") || (e.kind === "opaque" && e.name === "reject");

/** True if the rule does this to every packet. */
const isFinal = (r: Rule, does: (e: Expr) => boolean): boolean =>
  r.expressions.some(does) && r.expressions.every((e) => idle(e) || does(e));
