import { type Detail, NetError } from "../errors.ts";
import type { Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { addChain, addRule, addSet, addTable, deleteRules } from "../nft/batch.ts";
import type { Expr } from "../nft/expr.ts";
import { findChain, findTable, listRules } from "../nft/list.ts";
import type { Rule, TableRef } from "../nft/model.ts";
import { rule } from "../nft/statement.ts";
import { type ChainSpec, type Group, LAYOUT_COMMENT } from "./nftables-parts.ts";

/**
 * The shared part of the layout: telling whether a group of chains is whole, and the changes that make or mend it.
 * Two programs may do so at once: a fresh group is made with chains that must be new, so that the second transaction
 * fails as a whole and no rule stands twice.
 */

/** True if the group is there and its rules were not flushed. One request; `verifyChain` looks closer. */
export const isWhole = (socket: NetlinkSocket, g: Group): boolean =>
  (findChain(socket, g.table, g.witness.chain)?.uses ?? 0) >= g.witness.uses;

const compile = (t: TableRef, chain: ChainSpec): readonly Rule[] => chain.rules.map((r) => rule(t.family, r));

/**
 * The changes that bring the group into the kernel, to be sent in one transaction with whatever needs it. Throws
 * `feature/missing` if the table was made by a program with another layout.
 */
export function buildGroup(socket: NetlinkSocket, g: Group): Request[] {
  const table = findTable(socket, g.table);
  if (table && table.comment !== LAYOUT_COMMENT)
    throw new NetError("feature/missing", {
      feature: `nftables table ${g.table.family} ${g.table.table} ("${table.comment ?? "no comment"}")`,
      needs: `a table with the comment "${LAYOUT_COMMENT}"; remove the table or use the program that made it`,
    });
  const present = g.chains.filter((c) => table && findChain(socket, g.table, c.name));
  const fresh = present.length === 0;
  return [
    addTable(g.table, LAYOUT_COMMENT),
    ...g.chains.map((c) =>
      present.includes(c) ? deleteRules(g.table, c.name) : addChain(g.table, c, { mustBeNew: fresh }),
    ),
    ...g.sets.map((s) => addSet(g.table, s)),
    ...g.chains.flatMap((c) => compile(g.table, c).map((r) => addRule(g.table, c.name, r))),
  ];
}

/** The changes that make a chain of a subnet; none if it is there, and with `compare` has the right rules. */
export function buildSubnetChain(
  socket: NetlinkSocket,
  t: TableRef,
  chain: ChainSpec,
  compare: boolean,
): Request[] {
  const present = findChain(socket, t, chain.name) !== undefined;
  if (present && !compare) return [];
  const wanted = compile(t, chain);
  const rules = wanted.map((r) => addRule(t, chain.name, r));
  if (!present) return [addChain(t, chain, { mustBeNew: true }), ...rules];
  return sameRules(listRules(socket, t, chain.name), wanted) ? [] : [deleteRules(t, chain.name), ...rules];
}

/**
 * A chain, set or rule that the kernel does not know how to make, as a feature that is missing; undefined for refusals
 * with another reason. Everything that a new object leans on is there or made in the same transaction, so that ENOENT for it
 * means that the kernel has no such chain type or expression, unless the rule set has changed since that was decided.
 */
export function missingFeature(refused: Detail["netlink/refused"]): Detail["feature/missing"] | undefined {
  const [, object] = /^NFT_MSG_NEW(CHAIN|RULE|SET) /.exec(refused.request) ?? [];
  if (object === undefined || !["ENOENT", "EOPNOTSUPP"].includes(refused.errno)) return undefined;
  return {
    feature: `an nftables ${object.toLowerCase()} that the firewall is made of (${refused.request}: ${refused.errno})`,
    needs:
      "Linux 5.2 or newer with nf_tables, nft_nat, nft_masq, nft_fib_inet and, for MAC checks, nf_tables_bridge",
  };
}

const plain = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? Buffer.from(value).toString("hex") : typeof value === "bigint" ? "" : value;

/** The expressions of a rule as text; what a counter has counted is left out. */
export const showRule = (r: Rule): string =>
  JSON.stringify(
    r.expressions.map((e: Expr) => (e.kind === "counter" ? { kind: e.kind } : e)),
    plain,
  );

export const sameRules = (a: readonly Rule[], b: readonly Rule[]): boolean =>
  a.length === b.length && a.every((r, i) => showRule(r) === showRule(b[i] ?? { expressions: [] }));

/** Throws `check/differs` if the chain has not exactly these rules. */
export function verifyChain(socket: NetlinkSocket, t: TableRef, chain: ChainSpec): void {
  const what = `nftables chain ${t.family} ${t.table} ${chain.name}`;
  const info = findChain(socket, t, chain.name);
  const wanted = `${chain.rules.length} rules`;
  if (info === undefined) throw new NetError("check/differs", { what, wanted, found: "nothing" });
  const { base } = chain;
  if (base && (info.base?.priority !== base.priority || info.base.hook !== base.hook))
    throw new NetError("check/differs", {
      what,
      wanted: `${base.hook} priority ${base.priority}`,
      found: info.base ? `${info.base.hook} priority ${info.base.priority}` : "a chain without a hook",
    });
  const rules = listRules(socket, t, chain.name);
  if (!sameRules(rules, compile(t, chain)))
    throw new NetError("check/differs", { what, wanted, found: `${rules.length} rules, not all the same` });
}
