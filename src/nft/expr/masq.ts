import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import type { Expression } from "./expression.ts";

/** Gives the packet the address of the interface that it leaves by (`NFTA_MASQ_*`), and nothing else or any port. */
export interface Masq {
  readonly kind: "masq";
  /** The port is drawn, as `fully-random` says it (linux/netfilter/nf_nat.h: NF_NAT_RANGE_PROTO_RANDOM_FULLY). */
  readonly random?: "fully";
}

const RANDOM_FULLY = 1 << 4;
const table = attrs("NFTA_MASQ", { flags: [1, fixedAttr(be32)] });

export const masq: Expression<Masq> = {
  name: "masq",
  decode(b) {
    const { flags = 0, unknown } = table.decode(b);
    if (unknown || (flags !== 0 && flags !== RANDOM_FULLY)) return undefined;
    return { kind: "masq", ...(flags === 0 ? {} : { random: "fully" }) };
  },
  encode: (e) => table.encode(e.random === undefined ? {} : { flags: RANDOM_FULLY }),
};
