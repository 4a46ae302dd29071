import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Loads something that connection tracking knows (`NFTA_CT_*`). */
export interface Ct {
  readonly kind: "ct";
  readonly key: keyof typeof keys;
  readonly into: number;
}
const keys = { status: 2 } as const;

const table = attrs("NFTA_CT", { dreg: [1, register], key: [2, fixedAttr(be32)] });

export const ct: Expression<Ct> = {
  name: "ct",
  decode(b) {
    const a = table.decode(b);
    const key = nameOf(keys, a.key);
    return a.unknown || key === undefined || a.dreg === undefined
      ? undefined
      : { kind: "ct", key, into: a.dreg };
  },
  encode: (e) => table.encode({ dreg: e.into, key: keys[e.key] }),
};
