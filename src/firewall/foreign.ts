import type { NetlinkSocket } from "../netlink/socket.ts";
import type { NftFamily } from "../nft/attrs.ts";
import type { Expr } from "../nft/expr.ts";
import { listChains, listRules } from "../nft/list.ts";
import type { Rule } from "../nft/model.ts";
import { inetTable } from "./nftables-parts.ts";

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
    const by = dropsBy(c.base.policy, listRules(socket, c, c.chain));
    return by === undefined ? [] : [{ family: c.family, table: c.table, chain: c.chain, by }];
  });
}

/** How a chain with this policy and these rules drops what no rule of it accepts; undefined if it does not. */
export function dropsBy(policy: "accept" | "drop", rules: readonly Rule[]): ForwardDrop["by"] | undefined {
  const last = rules.at(-1);
  if (last && isFinal(last, isAccept)) return undefined;
  if (last && isFinal(last, isRefusal)) return "last rule";
  return policy === "drop" ? "policy" : undefined;
}

/** Whether iptables loaded this extension: the name of a match or target is in its data as text. */
const isExtension = (e: Expr, kind: "match" | "target", name: string): boolean =>
  e.kind === "opaque" && e.name === kind && Buffer.from(e.bytes).includes(`${name}\0`);
/** Expressions that let every packet go on to the next expression. */
const idle = (e: Expr): boolean =>
  e.kind === "counter" || (e.kind === "opaque" && e.name === "log") || isExtension(e, "match", "comment");
const isAccept = (e: Expr): boolean => e.kind === "immediate" && e.verdict === "accept";
const isRefusal = (e: Expr): boolean =>
  (e.kind === "immediate" && e.verdict === "drop") ||
  (e.kind === "opaque" && e.name === "reject") ||
  isExtension(e, "target", "REJECT");

/** True if the rule does this to every packet. */
const isFinal = (r: Rule, does: (e: Expr) => boolean): boolean =>
  r.expressions.some(does) && r.expressions.every((e) => idle(e) || does(e));
