import type { exprAttrs } from "./attrs.ts";
import { bitwise } from "./expr/bitwise.ts";
import { cmp } from "./expr/cmp.ts";
import { counter } from "./expr/counter.ts";
import { ct } from "./expr/ct.ts";
import type { Expression } from "./expr/expression.ts";
import { fib } from "./expr/fib.ts";
import { immediate } from "./expr/immediate.ts";
import { lookup } from "./expr/lookup.ts";
import { masq } from "./expr/masq.ts";
import { meta } from "./expr/meta.ts";
import { nat } from "./expr/nat.ts";
import { payload } from "./expr/payload.ts";

/**
 * All expressions that this program can write. A new one is a file in `expr/` and a line here. What others loaded and
 * nobody here knows is kept byte for byte as `opaque`.
 */
const expressions = {
  bitwise,
  cmp,
  counter,
  ct,
  fib,
  immediate,
  lookup,
  masq,
  meta,
  nat,
  payload,
  // The bound has to admit the codec of every expression.
  // oxlint-disable-next-line no-explicit-any
} as const satisfies Record<string, Expression<any>>;

interface Opaque {
  readonly kind: "opaque";
  readonly name: string;
  readonly bytes: Uint8Array;
}
type ValueOf<E> = E extends Expression<infer T> ? T : never;
export type Expr = ValueOf<(typeof expressions)[keyof typeof expressions]> | Opaque;

type ExprAttrs = ReturnType<typeof exprAttrs.decode>;
const none = new Uint8Array(0);
const byName = new Map(Object.values(expressions).map((e) => [e.name, e as Expression<Expr>]));

export function encodeExpr(e: Expr): ExprAttrs {
  if (e.kind === "opaque") return { name: e.name, data: e.bytes };
  const codec = expressions[e.kind] as Expression<Expr>;
  return { name: codec.name, data: codec.encode(e) };
}

export function decodeExpr(a: ExprAttrs): Expr {
  const name = a.name ?? "";
  const bytes = a.data ?? none;
  return byName.get(name)?.decode(bytes) ?? { kind: "opaque", name, bytes };
}
