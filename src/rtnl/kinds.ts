import { type Ipip, ipipKind } from "./kinds/ipip.ts";
import { type Ipvlan, ipvlanKind } from "./kinds/ipvlan.ts";
import type { LinkKind } from "./kinds/link-kind.ts";
import { type Macvlan, macvlanKind } from "./kinds/macvlan.ts";
import { type Plain, plainKind } from "./kinds/plain.ts";
import { type Vlan, vlanKind } from "./kinds/vlan.ts";
import { type Vrf, vrfKind } from "./kinds/vrf.ts";
import { type Vxlan, vxlanKind } from "./kinds/vxlan.ts";
import type { Link } from "./link.ts";

/**
 * The kinds of links that are made by one request and differ in a few parameters; the next one is a file in `kinds/`
 * and a line here. Pairs and bridges have functions of their own in `link.ts`.
 */
export type LinkType = Macvlan | Ipvlan | Vlan | Vrf | Vxlan | Ipip | Plain;

const kinds: { readonly [K in LinkType["kind"]]: LinkKind<Extract<LinkType, { kind: K }>> } = {
  macvlan: macvlanKind("macvlan") as LinkKind<Extract<LinkType, { kind: "macvlan" }>>,
  macvtap: macvlanKind("macvtap") as LinkKind<Extract<LinkType, { kind: "macvtap" }>>,
  ipvlan: ipvlanKind,
  vlan: vlanKind,
  vrf: vrfKind,
  vxlan: vxlanKind,
  ipip: ipipKind,
  dummy: plainKind("dummy") as LinkKind<Extract<LinkType, { kind: "dummy" }>>,
  ifb: plainKind("ifb") as LinkKind<Extract<LinkType, { kind: "ifb" }>>,
  wireguard: plainKind("wireguard") as LinkKind<Extract<LinkType, { kind: "wireguard" }>>,
};

const kindOf = (name: LinkType["kind"]): LinkKind<LinkType> => kinds[name];

export const encodeLinkType = (type: LinkType): Uint8Array => kindOf(type.kind).encode(type);

/** What a link is, with its parameters; undefined for kinds that are not in `LinkType`. */
export function linkTypeOf({ kind, kindData }: Link): LinkType | undefined {
  if (kind === undefined || !Object.hasOwn(kinds, kind)) return undefined;
  return kindOf(kind as LinkType["kind"]).decode(kindData ?? new Uint8Array(0));
}
