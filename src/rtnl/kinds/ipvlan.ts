import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { u16 } from "../../wire/fixed.ts";
import { type LinkKind, nameOf } from "./link-kind.ts";

/**
 * A link that shares the MAC address of another one and is told apart by its IP addresses. `IFLA_IPVLAN_*`
 * (linux/if_link.h).
 */
export interface Ipvlan {
  readonly kind: "ipvlan";
  readonly mode: IpvlanMode;
}
export type IpvlanMode = keyof typeof ipvlanModes;

export const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;

const data = attrs("IFLA_IPVLAN", { mode: [1, fixedAttr(u16)] });

export const ipvlanKind: LinkKind<Ipvlan> = {
  encode: ({ mode }) => data.encode({ mode: ipvlanModes[mode] }),
  decode(bytes) {
    const mode = nameOf(ipvlanModes, data.decode(bytes).mode);
    return mode && { kind: "ipvlan", mode };
  },
};
