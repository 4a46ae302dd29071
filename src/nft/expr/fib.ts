import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Asks the routing table about the packet (`NFTA_FIB_*`): here, of which type an address is. */
export interface Fib {
  readonly kind: "fib";
  readonly of: keyof typeof selectors;
  readonly result: keyof typeof results;
  readonly into: number;
}
/** NFTA_FIB_F_SADDR and _DADDR. */
const selectors = { saddr: 1, daddr: 2 } as const;
/** NFT_FIB_RESULT_ADDRTYPE. */
const results = { type: 3 } as const;

const table = attrs("NFTA_FIB", {
  dreg: [1, register],
  result: [2, fixedAttr(be32)],
  flags: [3, fixedAttr(be32)],
});

export const fib: Expression<Fib> = {
  name: "fib",
  decode(b) {
    const a = table.decode(b);
    const of = nameOf(selectors, a.flags);
    const result = nameOf(results, a.result);
    return a.unknown || of === undefined || result === undefined || a.dreg === undefined
      ? undefined
      : { kind: "fib", of, result, into: a.dreg };
  },
  encode: (e) => table.encode({ dreg: e.into, result: results[e.result], flags: selectors[e.of] }),
};
