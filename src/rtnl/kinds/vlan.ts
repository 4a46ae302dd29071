import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u16 } from "../../wire/fixed.ts";
import type { LinkKind } from "./link-kind.ts";

/** A link that carries one VLAN of another link, 0 to 4094 (IEEE 802.1Q). `IFLA_VLAN_*` (linux/if_link.h). */
export interface Vlan {
  readonly kind: "vlan";
  readonly id: number;
}

const data = attrs("IFLA_VLAN", { id: [1, fixedAttr(u16)] });

export const vlanKind: LinkKind<Vlan> = {
  encode: ({ id }) => data.encode({ id }),
  decode(bytes) {
    const { id } = data.decode(bytes);
    return id === undefined ? undefined : { kind: "vlan", id };
  },
};
