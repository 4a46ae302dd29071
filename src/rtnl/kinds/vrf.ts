import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u32 } from "../../wire/fixed.ts";
import type { LinkKind } from "./link-kind.ts";

/** A routing domain: its member links route by the table of this number. `IFLA_VRF_*` (linux/if_link.h). */
export interface Vrf {
  readonly kind: "vrf";
  readonly table: number;
}

const data = attrs("IFLA_VRF", { table: [1, fixedAttr(u32)] });

export const vrfKind: LinkKind<Vrf> = {
  encode: ({ table }) => data.encode({ table }),
  decode(bytes) {
    const { table } = data.decode(bytes);
    return table === undefined ? undefined : { kind: "vrf", table };
  },
};
