import type { ForwardKeeper } from "../firewall/forward-keeper.ts";
import type { Ip } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { type Address, listAddresses } from "../rtnl/address.ts";
import { findLink, type Link, listLinks } from "../rtnl/link.ts";
import { listRoutes, lookUpRoute, type Route, routeProtocol } from "../rtnl/route.ts";
import type { RoutingRule } from "../rtnl/rule.ts";
import { readSysctl } from "../sys/sysctl.ts";
import type { Device } from "./device.ts";
import type { DeviceFound, DeviceWanted } from "./find-device.ts";
import type { Place } from "./model.ts";
import { at, socketAt, type Spaces } from "./spaces.ts";

/** What a plan has to know of the kernel, named before anything is read. */
export interface Needs {
  /** Links by name; with `addresses` also what is on them. */
  readonly links?: readonly { readonly place: Place; readonly name: string; readonly addresses?: boolean }[];
  /** Links of the host that packets to these addresses leave by. */
  readonly routesTo?: readonly Ip[];
  /** `*` in a key stands for the uplink's name, and the fact has it in its place. */
  readonly sysctls?: readonly { readonly place: Place; readonly key: string }[];
  /** One of `links` in the container: the other end of its pair, if that is in the host. */
  readonly hostEndOf?: string;
  /** The link that the default route of the namespace leaves by: of IPv4, else of IPv6, the one of the lowest metric. */
  readonly uplink?: Place | BelowInterface;
  /** Also what is on the uplink. */
  readonly uplinkAddresses?: boolean;
  /** A device of the host. */
  readonly hostDevice?: DeviceWanted;
  /** Every unicast route of all tables, and every rule, of both families. */
  readonly routing?: Place;
  /** What kind of device is behind this link of the host, or behind its uplink. */
  readonly device?: { readonly link: string } | "uplink";
  /** Every link of the namespace. */
  readonly linksOf?: Place;
  /** Links of the host whose IPv6 default route came from a router's advertisement. */
  readonly routerAdvertised?: boolean;
  /** Who drops forwarded packets of the host that nobody allowed. */
  readonly forwardKeeper?: true;
}

/** Instead of the uplink: the link of `place` that this interface of the container hangs on. */
export interface BelowInterface {
  readonly place: Place;
  readonly below: string;
}

/** What was found, by the names in `Needs`. What is not there is absent. */
export interface Facts {
  readonly links: ReadonlyMap<string, Link>;
  readonly addresses: ReadonlyMap<string, readonly Address[]>;
  /** By the printed address. */
  readonly routesTo: ReadonlyMap<string, Link>;
  readonly sysctls: ReadonlyMap<string, string>;
  readonly hostEnd?: Link;
  readonly uplink?: Link;
  /** Absent for a link that has no device behind it. */
  readonly device?: Device;
  readonly hostDevice?: DeviceFound;
  /** By place. */
  readonly routes: ReadonlyMap<Place, readonly Route[]>;
  readonly rules: ReadonlyMap<Place, readonly RoutingRule[]>;
  readonly linksOf: ReadonlyMap<Place, readonly Link[]>;
  readonly routerAdvertised: readonly Link[];
  readonly forwardKeeper?: ForwardKeeper;
}

/** The key of a fact: `host br0`. */
export const factKey = (place: Place, name: string): string => `${place} ${name}`;

export async function readFacts(spaces: Spaces, needs: Needs): Promise<Facts> {
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
  const routing = await routingFacts(spaces, needs);
  if (needs.uplink && needs.uplinkAddresses && routing.uplink) {
    const { name, index } = routing.uplink;
    const place = typeof needs.uplink === "string" ? needs.uplink : needs.uplink.place;
    addresses.set(factKey(place, name), listAddresses(socketAt(spaces, place), index));
  }
  for (const { place, key: pattern } of needs.sysctls ?? []) {
    const key = pattern.replace("*", routing.uplink?.name ?? "*");
    const value = at(spaces, place, () => readSysctl(key));
    if (value !== undefined) sysctls.set(factKey(place, key), value);
  }
  return {
    links,
    addresses,
    routesTo,
    sysctls,
    ...(await hostEndFact(spaces, needs, links)),
    ...routing,
    ...(await deviceFact(needs, links, routing.uplink)),
    ...(needs.hostDevice ? { hostDevice: await hostDeviceFact(spaces, needs.hostDevice) } : {}),
    linksOf: new Map(needs.linksOf ? [[needs.linksOf, listLinks(socketAt(spaces, needs.linksOf))]] : []),
    routerAdvertised: needs.routerAdvertised ? listeningLinks(spaces) : [],
    ...(needs.forwardKeeper ? { forwardKeeper: await forwardKeeper() } : {}),
  };
}

async function hostEndFact(
  spaces: Spaces,
  { hostEndOf }: Needs,
  links: Facts["links"],
): Promise<Pick<Facts, "hostEnd">> {
  const inside = hostEndOf === undefined ? undefined : links.get(factKey("container", hostEndOf));
  if (inside === undefined) return {};
  const { findHostEnd } = await import("./host-end.ts");
  const hostEnd = findHostEnd(spaces, inside);
  return hostEnd === undefined ? {} : { hostEnd };
}

async function routingFacts(
  spaces: Spaces,
  { uplink, routing }: Needs,
): Promise<Pick<Facts, "uplink" | "routes" | "rules">> {
  if (uplink === undefined && routing === undefined) return { routes: new Map(), rules: new Map() };
  const { allRoutes, allRules, findBelow, findUplink } = await import("./routing-facts.ts");
  const found =
    typeof uplink === "object"
      ? findBelow(socketAt(spaces, "container"), uplink.below, socketAt(spaces, uplink.place))
      : uplink && findUplink(socketAt(spaces, uplink));
  const of = <T>(list: (socket: NetlinkSocket) => readonly T[]): ReadonlyMap<Place, readonly T[]> =>
    new Map(routing === undefined ? [] : [[routing, list(socketAt(spaces, routing))]]);
  return { ...(found ? { uplink: found } : {}), routes: of(allRoutes), rules: of(allRules) };
}

async function forwardKeeper(): Promise<ForwardKeeper> {
  const { findForwardKeeper } = await import("../firewall/forward-keeper.ts");
  return findForwardKeeper();
}

async function deviceFact(
  { device }: Needs,
  links: Facts["links"],
  uplink: Link | undefined,
): Promise<Pick<Facts, "device">> {
  const link = device === undefined || device === "uplink" ? uplink : links.get(factKey("host", device.link));
  if (device === undefined || link === undefined) return {};
  const { readDevice } = await import("./device.ts");
  const found = readDevice(link);
  return found ? { device: found } : {};
}

async function hostDeviceFact({ host }: Spaces, wanted: DeviceWanted): Promise<DeviceFound> {
  const { findDevice } = await import("./find-device.ts");
  return findDevice(host, wanted);
}

function listeningLinks(spaces: Spaces): readonly Link[] {
  const learned = listRoutes(spaces.host, 6).filter(
    (r) => r.dst.bits === 0 && r.protocol === routeProtocol.routerAdvertisement && r.oif !== undefined,
  );
  return [...new Set(learned.map((r) => r.oif ?? 0))]
    .map((index) => findLink(spaces.host, { index }))
    .filter((link) => link !== undefined);
}
