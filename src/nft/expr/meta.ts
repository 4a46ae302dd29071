import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Loads something known about the packet beside its bytes (`NFTA_META_*`). */
export interface Meta {
  readonly kind: "meta";
  readonly key: keyof typeof keys;
  readonly into: number;
}
const keys = { mark: 3, iifname: 6, oifname: 7, nfproto: 15, l4proto: 16 } as const;

const table = attrs("NFTA_META", { dreg: [1, register], key: [2, fixedAttr(be32)] });

export const meta: Expression<Meta> = {
  name: "meta",
  decode(b) {
    const a = table.decode(b);
    const key = nameOf(keys, a.key);
    return a.unknown || key === undefined || a.dreg === undefined
      ? undefined
      : { kind: "meta", key, into: a.dreg };
  },
  encode: (e) => table.encode({ dreg: e.into, key: keys[e.key] }),
};
