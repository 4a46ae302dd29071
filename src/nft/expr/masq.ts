import { attrs } from "../../wire/attrs.ts";
import type { Expression } from "./expression.ts";

/** Gives the packet the address of the interface that it leaves by (`NFTA_MASQ_*`), without any option. */
export interface Masq {
  readonly kind: "masq";
}

const table = attrs("NFTA_MASQ", {});

export const masq: Expression<Masq> = {
  name: "masq",
  decode: (b) => (table.decode(b).unknown ? undefined : { kind: "masq" }),
  encode: () => table.encode({}),
};
