import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Loads bytes of a header into a register (`NFTA_PAYLOAD_*`). */
export interface Payload {
  readonly kind: "payload";
  readonly base: keyof typeof bases;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly into: number;
}
const bases = { link: 0, network: 1, transport: 2 } as const;

const table = attrs("NFTA_PAYLOAD", {
  dreg: [1, register],
  base: [2, fixedAttr(be32)],
  offset: [3, fixedAttr(be32)],
  length: [4, fixedAttr(be32)],
});

export const payload: Expression<Payload> = {
  name: "payload",
  decode(b) {
    const a = table.decode(b);
    const base = nameOf(bases, a.base);
    if (a.unknown || base === undefined || a.dreg === undefined) return undefined;
    return { kind: "payload", base, offsetBytes: a.offset ?? 0, lengthBytes: a.length ?? 0, into: a.dreg };
  },
  encode: (e) =>
    table.encode({ dreg: e.into, base: bases[e.base], offset: e.offsetBytes, length: e.lengthBytes }),
};
