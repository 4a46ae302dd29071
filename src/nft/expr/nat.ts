import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { families } from "../attrs.ts";
import { register } from "../registers.ts";
import { type Expression, nameOf } from "./expression.ts";

/** Translates to the address, and the port if one is given, in these registers (`NFTA_NAT_*`). */
export interface Nat {
  readonly kind: "nat";
  readonly type: keyof typeof types;
  readonly family: keyof typeof natFamilies;
  readonly address: number;
  readonly port?: number;
}
/** NFT_NAT_SNAT and _DNAT. */
const types = { snat: 0, dnat: 1 } as const;
const natFamilies = { ip: families.ip, ip6: families.ip6 } as const;
/** NF_NAT_RANGE_MAP_IPS and _PROTO_SPECIFIED (linux/netfilter/nf_nat.h): set by the kernel itself. */
const IMPLIED = 3;

const table = attrs("NFTA_NAT", {
  type: [1, fixedAttr(be32)],
  family: [2, fixedAttr(be32)],
  addressMin: [3, register],
  addressMax: [4, register],
  portMin: [5, register],
  portMax: [6, register],
  flags: [7, fixedAttr(be32)],
});

export const nat: Expression<Nat> = {
  name: "nat",
  decode(b) {
    const a = table.decode(b);
    const type = nameOf(types, a.type);
    const family = nameOf(natFamilies, a.family);
    const range = (a.addressMax ?? a.addressMin) !== a.addressMin || (a.portMax ?? a.portMin) !== a.portMin;
    if (a.unknown || type === undefined || family === undefined || a.addressMin === undefined)
      return undefined;
    if (range || ((a.flags ?? 0) & ~IMPLIED) !== 0) return undefined;
    return {
      kind: "nat",
      type,
      family,
      address: a.addressMin,
      ...(a.portMin === undefined ? {} : { port: a.portMin }),
    };
  },
  encode: (e) =>
    table.encode({
      type: types[e.type],
      family: natFamilies[e.family],
      addressMin: e.address,
      ...(e.port === undefined ? {} : { portMin: e.port }),
    }),
};
