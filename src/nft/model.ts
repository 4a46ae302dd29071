import type { NftFamily } from "./attrs.ts";
import type { KeyType, Scalar } from "./data-types.ts";
import type { Expr } from "./expr.ts";
import type { Verdict } from "./verdict.ts";

/**
 * The tree of a table as plain readonly data: what `batch.ts` puts into the kernel and `list.ts` reads back. It knows
 * nothing of what a table is for.
 */
export interface TableRef {
  readonly family: NftFamily;
  readonly table: string;
}

export type Hook = "prerouting" | "input" | "forward" | "output" | "postrouting";

/** Where the kernel enters a base chain. */
export interface Base {
  readonly type: "filter" | "nat" | "route";
  readonly hook: Hook;
  /** Lower comes first; -400 to 400 are in use (linux/netfilter_ipv4.h, `enum nf_ip_hook_priorities`). */
  readonly priority: number;
  readonly policy: "accept" | "drop";
}

export interface Chain {
  readonly name: string;
  readonly base?: Base;
  readonly rules: readonly Rule[];
}

export interface Rule {
  readonly expressions: readonly Expr[];
  readonly comment?: string;
}

/** A set, or a map if it has data. Always a plain hash: no intervals, no time-outs. */
export interface SetSpec {
  readonly name: string;
  readonly key: KeyType;
  readonly data?: KeyType | "verdict";
}

export interface Element {
  readonly key: readonly Scalar[];
  readonly data?: readonly Scalar[] | Verdict;
  readonly comment?: string;
}

/** What the kernel says of a chain beside its rules. */
export interface ChainInfo extends TableRef {
  readonly chain: string;
  readonly handle: bigint;
  readonly base?: Base;
  /** Its own rules, and the jumps and verdict elements that lead to it. */
  readonly uses: number;
}

export interface RuleInfo extends Rule {
  readonly chain: string;
  readonly handle: bigint;
}

/** True for data that is a verdict and not a list of values. */
export const isVerdict = (data: readonly Scalar[] | Verdict): data is Verdict =>
  typeof data === "string" || !("length" in data);
