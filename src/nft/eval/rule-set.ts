/**
 * A rule set as it is evaluated, and the question what a set has for a key of which perhaps not every bit is known. Data only;
 * `read.ts` gets it from the kernel.
 */
import type { NftFamily } from "../attrs.ts";
import type { Hook, RuleInfo, TableRef } from "../model.ts";
import type { Verdict } from "../verdict.ts";
import { between, type Bits, both, equals, isKnown, slice, type Truth } from "./bits.ts";

export interface RuleSet {
  /** Chains that the kernel enters by itself, of tables that are not dormant. */
  readonly bases: readonly BaseChain[];
  /** The rules of a chain; empty if there is none. */
  chain(table: TableRef, name: string): readonly RuleInfo[];
  set(table: TableRef, name: string): SetContent | undefined;
}

export type HookName = Hook | "ingress" | "egress";

export interface BaseChain extends TableRef {
  readonly chain: string;
  readonly type: "filter" | "nat" | "route";
  readonly hook: HookName;
  readonly priority: number;
  readonly policy: "accept" | "drop";
  /** Of `ingress` and `egress`: the links. */
  readonly devices?: readonly string[];
}

export interface SetContent {
  /** Bytes of each part of a key, in order; each begins at a multiple of four. */
  readonly fields: readonly number[];
  readonly elements: readonly SetElement[];
}

export interface SetElement {
  readonly key: Uint8Array;
  /** The last key of a range, which begins with `key`. */
  readonly last?: Uint8Array;
  /** For every key that no other element has. */
  readonly catchAll?: true;
  /** Of a map. `opaque`: a verdict that is not known here. */
  readonly data?: Uint8Array | Verdict | { readonly opaque: true };
  /** It has a condition of its own, such as a limit. */
  readonly conditional?: true;
}

export type Found =
  | { readonly kind: "found"; readonly element: SetElement }
  | { readonly kind: "absent" }
  /** One of these, or, if `absent`, none. */
  | { readonly kind: "unsure"; readonly candidates: readonly SetElement[]; readonly absent: boolean };

const hashes = new WeakMap<SetContent, ReadonlyMap<string, SetElement>>();

/** Elements of one key, for the usual question: sets may have as many elements as a host has services. */
function hashOf(set: SetContent): ReadonlyMap<string, SetElement> {
  let hash = hashes.get(set);
  if (hash === undefined) {
    hash = new Map(set.elements.filter((e) => !e.last && !e.catchAll).map((e) => [e.key.toHex(), e]));
    hashes.set(set, hash);
  }
  return hash;
}

export function lookUp(set: SetContent, key: Bits): Found {
  const ranges = set.elements.filter((e) => e.last !== undefined);
  const single = isKnown(key) ? hashOf(set).get(key.bytes.toHex()) : undefined;
  const possible = isKnown(key)
    ? [...(single ? [single] : []), ...ranges]
    : set.elements.filter((e) => !e.catchAll);
  const candidates: SetElement[] = [];
  for (const element of possible) {
    const fits = both(matches(set, element, key), element.conditional ? undefined : true);
    if (fits === true) return { kind: "found", element };
    if (fits === undefined) candidates.push(element);
  }
  const rest = set.elements.find((e) => e.catchAll);
  if (candidates.length === 0)
    return rest === undefined ? { kind: "absent" } : { kind: "found", element: rest };
  return {
    kind: "unsure",
    candidates: rest === undefined ? candidates : [...candidates, rest],
    absent: rest === undefined,
  };
}

function matches({ fields }: SetContent, { key, last }: SetElement, asked: Bits): Truth {
  if (last === undefined) return equals(asked, key);
  let result: Truth = true;
  let at = 0;
  for (const length of fields) {
    const part = (b: Uint8Array): Uint8Array => b.subarray(at, at + length);
    result = both(result, between(slice(asked, at, length), part(key), part(last)));
    at += (length + 3) & ~3;
  }
  return result;
}

/** What an interval set has in the kernel: each range as where it begins and where the next one or a gap does. */
export interface Boundary {
  readonly key: Uint8Array;
  readonly end: boolean;
  readonly element: Omit<SetElement, "key" | "last">;
}

/** The ranges between boundaries. */
export function rangesOf(boundaries: readonly Boundary[]): readonly SetElement[] {
  const sorted = boundaries.toSorted((a, b) => Buffer.compare(a.key, b.key) || Number(b.end) - Number(a.end));
  const ranges: SetElement[] = [];
  let open: Boundary | undefined;
  const close = (next: Uint8Array): void => {
    if (open) ranges.push({ ...open.element, key: open.key, last: before(next) });
    open = undefined;
  };
  for (const b of sorted) {
    close(b.key);
    if (!b.end) open = b;
  }
  if (open) ranges.push({ ...open.element, key: open.key, last: new Uint8Array(open.key.length).fill(0xff) });
  return ranges;
}

/** The number before this one. */
function before(key: Uint8Array): Uint8Array {
  const out = key.slice();
  for (let i = out.length - 1; i >= 0; i--) {
    out[i] = ((out[i] ?? 0) - 1) & 0xff;
    if (out[i] !== 0xff) break;
  }
  return out;
}

/** For people: `inet filter`. */
export const tableName = (t: { readonly family: NftFamily; readonly table: string }): string =>
  `${t.family} ${t.table}`;
