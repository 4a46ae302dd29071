import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { dataAttrs } from "../attrs.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Goes on with the rule if the register compares so with the bytes (`NFTA_CMP_*`). */
export interface Cmp {
  readonly kind: "cmp";
  readonly from: number;
  readonly op: keyof typeof ops;
  readonly bytes: Uint8Array;
}
const ops = { "==": 0, "!=": 1 } as const;

const table = attrs("NFTA_CMP", { sreg: [1, register], op: [2, fixedAttr(be32)], data: [3, dataAttrs] });

export const cmp: Expression<Cmp> = {
  name: "cmp",
  decode(b) {
    const a = table.decode(b);
    const op = nameOf(ops, a.op);
    const bytes = a.data?.value;
    return a.unknown || op === undefined || bytes === undefined || a.sreg === undefined
      ? undefined
      : { kind: "cmp", from: a.sreg, op, bytes };
  },
  encode: (e) => table.encode({ sreg: e.from, op: ops[e.op], data: { value: e.bytes } }),
};
