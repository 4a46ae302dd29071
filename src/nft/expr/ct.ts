import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32, u8 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Loads something that connection tracking knows (`NFTA_CT_*`). */
export interface Ct {
  readonly kind: "ct";
  readonly key: keyof typeof keys;
  readonly direction?: keyof typeof directions;
  readonly into: number;
}
const keys = { state: 0, status: 2, protoDst: 12 } as const;
/** IP_CT_DIR_ORIGINAL and _REPLY (linux/netfilter/nf_conntrack_tuple_common.h). */
const directions = { original: 0, reply: 1 } as const;

const table = attrs("NFTA_CT", {
  dreg: [1, register],
  key: [2, fixedAttr(be32)],
  direction: [3, fixedAttr(u8)],
});

export const ct: Expression<Ct> = {
  name: "ct",
  decode(b) {
    const a = table.decode(b);
    const key = nameOf(keys, a.key);
    const direction = nameOf(directions, a.direction);
    if (a.unknown || key === undefined || a.dreg === undefined) return undefined;
    return { kind: "ct", key, ...(direction === undefined ? {} : { direction }), into: a.dreg };
  },
  encode: (e) =>
    table.encode({
      dreg: e.into,
      key: keys[e.key],
      ...(e.direction === undefined ? {} : { direction: directions[e.direction] }),
    }),
};
