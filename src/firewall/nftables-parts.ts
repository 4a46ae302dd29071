import type { KeyType } from "../nft/data-types.ts";
import type { Base, Element, SetSpec, TableRef } from "../nft/model.ts";
import type { Statement } from "../nft/statement.ts";
import type { PortMapping } from "./model.ts";

/** What the layout's descriptions are made of: tables, chains, sets and elements as data. */
export const inetTable: TableRef = { family: "inet", table: "heddle" };
export const bridgeTable: TableRef = { family: "bridge", table: "heddle" };

/** In the table's comment. A base chain cannot change its priority later: another layout needs another number. */
export const LAYOUT_COMMENT = "heddle layout 1";

/** A chain with its rules as statements: they are compiled when they are needed, which is once in a host's life. */
export interface ChainSpec {
  readonly name: string;
  readonly base?: Base;
  readonly rules: readonly (readonly Statement[])[];
}

/** Chains and sets that are made together, when the first rule needs them. */
export interface Group {
  readonly name:
    | "masquerade"
    | "portmap"
    | "conditional-portmap"
    | "mac-check"
    | "ingress"
    | "closed"
    | "port-isolation"
    | "fabric";
  readonly table: TableRef;
  readonly chains: readonly ChainSpec[];
  readonly sets: readonly SetSpec[];
  /** The chain whose use count (own rules, and jumps to it) tells whether the group is there, and was not flushed. */
  readonly witness: { readonly chain: string; readonly uses: number };
}

/** A set, or with data a map. */
export const set = (name: string, key: KeyType, data?: SetSpec["data"]): SetSpec => ({
  name,
  key,
  ...(data === undefined ? {} : { data }),
});

/** One element and where it belongs. */
export interface Placed {
  readonly table: TableRef;
  readonly set: SetSpec;
  readonly element: Element;
  /** Shared: made if missing, without a mark, and never a conflict. */
  readonly shared?: true;
  /** The mapping that it came from, to name it to people. */
  readonly mapping?: PortMapping;
}

/** What one rule becomes. */
export interface Planned {
  readonly chains: readonly ChainSpec[];
  readonly elements: readonly Placed[];
}
