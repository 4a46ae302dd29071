import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be64 } from "../../wire/fixed.ts";
import type { Expression } from "./expression.ts";

/** Counts what comes this far (`NFTA_COUNTER_*`). */
export interface Counter {
  readonly kind: "counter";
  readonly packets: bigint;
  readonly bytes: bigint;
}

const table = attrs("NFTA_COUNTER", { bytes: [1, fixedAttr(be64)], packets: [2, fixedAttr(be64)] });

export const counter: Expression<Counter> = {
  name: "counter",
  decode(b) {
    const a = table.decode(b);
    return { kind: "counter", packets: a.packets ?? 0n, bytes: a.bytes ?? 0n };
  },
  encode: (e) => table.encode({ bytes: e.bytes, packets: e.packets }),
};
