import { attrs, cstr, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import type { Expression } from "./expression.ts";

/** Looks a register up in a set, or in a map that puts its data elsewhere (`NFTA_LOOKUP_*`). */
export interface Lookup {
  readonly kind: "lookup";
  readonly set: string;
  readonly from: number;
  /** Maps only: a register, or `verdict` for a verdict map. */
  readonly into?: number | "verdict";
  /** Sets only: goes on when the key is absent. */
  readonly not?: true;
}
/** NFT_REG_VERDICT. */
const VERDICT = 0;
/** NFT_LOOKUP_F_INV. */
const INVERSE = 1;

const number = fixedAttr(be32);
const target = {
  decode: (b: Uint8Array): number | "verdict" =>
    number.decode(b) === VERDICT ? "verdict" : register.decode(b),
  encode: (to: number | "verdict"): Uint8Array =>
    to === "verdict" ? number.encode(VERDICT) : register.encode(to),
};

const table = attrs("NFTA_LOOKUP", {
  set: [1, cstr],
  sreg: [2, register],
  dreg: [3, target],
  flags: [5, number],
});

export const lookup: Expression<Lookup> = {
  name: "lookup",
  decode(b) {
    const a = table.decode(b);
    if (a.unknown || a.set === undefined || a.sreg === undefined || (a.flags ?? 0) > INVERSE)
      return undefined;
    return {
      kind: "lookup",
      set: a.set,
      from: a.sreg,
      ...(a.dreg === undefined ? {} : { into: a.dreg }),
      ...(a.flags === INVERSE ? { not: true } : {}),
    };
  },
  encode: (e) =>
    table.encode({
      set: e.set,
      sreg: e.from,
      ...(e.into === undefined ? {} : { dreg: e.into }),
      ...(e.not ? { flags: INVERSE } : {}),
    }),
};
