import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { dataAttrs } from "../attrs.ts";
import { register } from "../registers.ts";
import type { Expression } from "./expression.ts";

/** Keeps the bits of the mask in a register (`NFTA_BITWISE_*` with NFT_BITWISE_MASK_XOR and nothing to flip). */
export interface Bitwise {
  readonly kind: "bitwise";
  readonly from: number;
  readonly into: number;
  readonly mask: Uint8Array;
}

const table = attrs("NFTA_BITWISE", {
  sreg: [1, register],
  dreg: [2, register],
  length: [3, fixedAttr(be32)],
  mask: [4, dataAttrs],
  xor: [5, dataAttrs],
  // Absent before Linux 5.6, shown as zero since.
  op: [6, fixedAttr(be32)],
});

export const bitwise: Expression<Bitwise> = {
  name: "bitwise",
  decode(b) {
    const a = table.decode(b);
    const mask = a.mask?.value;
    const flips = a.xor?.value?.some((x) => x !== 0) ?? false;
    if (a.unknown || a.op || flips || !mask || a.sreg === undefined || a.dreg === undefined) return undefined;
    return { kind: "bitwise", from: a.sreg, into: a.dreg, mask };
  },
  encode: (e) =>
    table.encode({
      sreg: e.from,
      dreg: e.into,
      length: e.mask.length,
      mask: { value: e.mask },
      xor: { value: new Uint8Array(e.mask.length) },
    }),
};
