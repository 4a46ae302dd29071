import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { dataAttrs } from "../attrs.ts";
import { decodeVerdict, encodeVerdict, type Verdict } from "../verdict.ts";
import type { Expression } from "./expression.ts";

/** A fixed verdict (`NFTA_IMMEDIATE_*` into NFT_REG_VERDICT). */
export interface Immediate {
  readonly kind: "immediate";
  readonly verdict: Verdict;
}

const table = attrs("NFTA_IMMEDIATE", { dreg: [1, fixedAttr(be32)], data: [2, dataAttrs] });

export const immediate: Expression<Immediate> = {
  name: "immediate",
  decode(b) {
    const a = table.decode(b);
    const verdict = a.data?.verdict && decodeVerdict(a.data.verdict);
    return a.unknown || verdict === undefined ? undefined : { kind: "immediate", verdict };
  },
  encode: (e) => table.encode({ dreg: 0, data: { verdict: encodeVerdict(e.verdict) } }),
};
