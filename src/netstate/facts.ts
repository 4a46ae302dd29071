import type { Ip } from "../net/ip.ts";
import { type Address, listAddresses } from "../rtnl/address.ts";
import { findLink, type Link } from "../rtnl/link.ts";
import { listRoutes, lookUpRoute } from "../rtnl/route.ts";
import { readSysctl } from "../sys/sysctl.ts";
import type { Place } from "./model.ts";
import { at, socketAt, type Spaces } from "./spaces.ts";

/** What a plan has to know of the kernel, named before anything is read. */
export interface Needs {
  /** Links by name; with `addresses` also what is on them. */
  readonly links?: readonly { readonly place: Place; readonly name: string; readonly addresses?: boolean }[];
  /** Links of the host that packets to these addresses leave by. */
  readonly routesTo?: readonly Ip[];
  readonly sysctls?: readonly { readonly place: Place; readonly key: string }[];
  /** Links of the host whose IPv6 default route came from a router's advertisement. */
  readonly routerAdvertised?: boolean;
}

/** What was found, by the names in `Needs`. What is not there is absent. */
export interface Facts {
  readonly links: ReadonlyMap<string, Link>;
  readonly addresses: ReadonlyMap<string, readonly Address[]>;
  /** By the printed address. */
  readonly routesTo: ReadonlyMap<string, Link>;
  readonly sysctls: ReadonlyMap<string, string>;
  readonly routerAdvertised: readonly Link[];
}

/** The key of a fact: `host br0`. */
export const factKey = (place: Place, name: string): string => `${place} ${name}`;

export function readFacts(spaces: Spaces, needs: Needs): Facts {
  const links = new Map<string, Link>();
  const addresses = new Map<string, readonly Address[]>();
  const routesTo = new Map<string, Link>();
  const sysctls = new Map<string, string>();
  for (const { place, name, addresses: wanted } of needs.links ?? []) {
    const socket = socketAt(spaces, place);
    const link = findLink(socket, { name });
    if (link === undefined) continue;
    links.set(factKey(place, name), link);
    if (wanted) addresses.set(factKey(place, name), listAddresses(socket, link.index));
  }
  for (const ip of needs.routesTo ?? []) {
    const oif = lookUpRoute(spaces.host, ip)?.oif;
    const link = oif === undefined ? undefined : findLink(spaces.host, { index: oif });
    if (link !== undefined) routesTo.set(ip.text, link);
  }
  for (const { place, key } of needs.sysctls ?? []) {
    const value = at(spaces, place, () => readSysctl(key));
    if (value !== undefined) sysctls.set(factKey(place, key), value);
  }
  const routerAdvertised = needs.routerAdvertised ? listeningLinks(spaces) : [];
  return { links, addresses, routesTo, sysctls, routerAdvertised };
}

function listeningLinks(spaces: Spaces): readonly Link[] {
  const learned = listRoutes(spaces.host, 6).filter(
    (r) => r.dst.bits === 0 && r.fromRouter && r.oif !== undefined,
  );
  return [...new Set(learned.map((r) => r.oif ?? 0))]
    .map((index) => findLink(spaces.host, { index }))
    .filter((link) => link !== undefined);
}
