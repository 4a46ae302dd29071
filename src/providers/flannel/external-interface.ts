import { NetError } from "../../errors.ts";
import type { Publics } from "../../fabric/model.ts";
import {
  contains,
  type Family,
  type Ip,
  ipFromBytes,
  isLoopback,
  isUnspecified,
  prefix,
} from "../../net/ip.ts";
import type { Address } from "../../rtnl/address.ts";
import type { Link } from "../../rtnl/link.ts";
import { type Route, RT_TABLE_MAIN } from "../../rtnl/route.ts";
import type { ExternalWish } from "./options.ts";

/**
 * Which interface of this host leads to the others, and by which addresses: chosen as flanneld does from what the kernel
 * has. The choice is pure, so that the agent can make it again whenever an address or a route changes.
 */
export interface External {
  readonly link: Pick<Link, "index" | "name" | "mtuBytes">;
  /** The host's addresses on the link, one of each family that the network has. */
  readonly local: Publics;
  /** Those that are announced. */
  readonly publics: Publics;
}

/** What the choice is made from. */
export interface HostNetwork {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  /** Of both families; only default routes of the main table count. */
  readonly routes: readonly Route[];
  /** The route to `canReach` of the wish. */
  readonly reach?: Route;
  /** The host's addresses as they were chosen last: for as long as they are there and fit the wish, others that come change nothing. */
  readonly before?: Publics;
}

/** Which families the network has. */
export interface Families {
  readonly v4: boolean;
  readonly v6: boolean;
}

/** A link, and addresses on it that were asked for. */
interface Candidate {
  readonly link: Link;
  readonly local: Publics;
}
/** Why there is none, as a clause. */
type Why = string;

/**
 * The first interface that fits the wish and has an address of each family; without a wish that of the public address, or
 * that of the default route.
 * @throws try-again, since links and addresses come and go: it tells what was looked for and what there is
 */
export function chooseExternal(host: HostNetwork, wish: ExternalWish, families: Families): External {
  const complaints: Why[] = [];
  for (const look of looks(host, wish, families)) {
    const found = look();
    const external = typeof found === "string" ? found : withAddresses(host, found, wish.publics, families);
    if (typeof external !== "string") return external;
    complaints.push(external);
  }
  throw new NetError("try-again", {
    why: `no interface to the other hosts: ${complaints.join("; ")}. This host has ${inventory(host)}`,
  });
}

/** What is tried, one after the other. */
function looks(
  host: HostNetwork,
  { names, patterns, canReach, publics }: ExternalWish,
  families: Families,
): readonly (() => Candidate | Why)[] {
  if (names.length + patterns.length > 0 || canReach !== undefined)
    return [
      ...names.map(
        (name) => () => (typeof name === "string" ? byName(host, name) : byAddress(host, name, "--iface")),
      ),
      ...patterns.map((pattern) => () => byPattern(host, pattern, families)),
      ...(canReach === undefined ? [] : [() => byReach(host, canReach)]),
    ];
  const { v4, v6 } = publics;
  if (v4 !== undefined && families.v4) return [() => byAddress(host, v4, "--public-ip")];
  if (v6 !== undefined && families.v6) return [() => byAddress(host, v6, "--public-ipv6")];
  return [() => byDefaultRoute(host, families)];
}

function byName({ links }: HostNetwork, name: string): Candidate | Why {
  const link = links.find((l) => l.name === name) ?? links.find((l) => l.altNames.includes(name));
  return link === undefined ? `--iface: there is no ${name}` : { link, local: {} };
}

const localOf = (ip: Ip): Publics => (ip.family === 4 ? { v4: ip } : { v6: ip });

function byAddress({ links, addresses }: HostNetwork, ip: Ip, flag: string): Candidate | Why {
  const index = addresses.find((a) => a.prefix.ip.text === ip.text)?.index;
  const link = links.find((l) => l.index === index);
  if (link !== undefined) return { link, local: localOf(ip) };
  const behind =
    flag === "--iface" ? "" : ": if it is translated on the way, name the interface with --iface";
  return `${flag}: no interface has ${ip.text}${behind}`;
}

function byPattern(host: HostNetwork, pattern: RegExp, families: Families): Candidate | Why {
  for (const link of host.links) {
    const match = (family: Family): Ip | undefined =>
      usable(host, link, family).find((ip) => pattern.test(ip.text));
    const [v4, v6] = [families.v4 ? match(4) : undefined, families.v6 ? match(6) : undefined];
    if (v4 !== undefined || v6 !== undefined)
      return { link, local: { ...(v4 ? { v4 } : {}), ...(v6 ? { v6 } : {}) } };
  }
  const link = host.links.find((l) => pattern.test(l.name));
  return link === undefined
    ? `--iface-regex: ${pattern.source} fits no address and no name`
    : { link, local: {} };
}

function byReach({ links, reach }: HostNetwork, to: Ip): Candidate | Why {
  const link = links.find((l) => l.index === reach?.oif);
  if (link === undefined) return `--iface-can-reach: there is no route to ${to.text}`;
  return { link, local: reach?.src === undefined ? {} : localOf(reach.src) };
}

/** Whether the link has the address of that family that was chosen last. */
const hadBefore = (host: HostNetwork, link: number | undefined, family: Family): boolean =>
  host.addresses.some((a) => a.index === link && isBefore(host, a.prefix.ip, family));
const isBefore = ({ before }: HostNetwork, ip: Ip, family: Family): boolean =>
  ip.text === (family === 4 ? before?.v4 : before?.v6)?.text;

/** A tunnel that takes the default route for a while leaves that of the link before where it is, with a greater metric. */
function byDefaultRoute(host: HostNetwork, families: Families): Candidate | Why {
  const { links, routes } = host;
  const wanted = [...(families.v4 ? [4 as const] : []), ...(families.v6 ? [6 as const] : [])];
  const found = wanted.map((family) => {
    const rank = (r: Route): number => (hadBefore(host, r.oif, family) ? -1 : (r.priority ?? 0));
    const [first] = routes
      .filter((r) => r.table === RT_TABLE_MAIN && r.dst.bits === 0 && r.dst.ip.family === family)
      .filter((r) => r.oif !== undefined)
      .toSorted((a, b) => rank(a) - rank(b));
    return { family, link: links.find((l) => l.index === first?.oif) };
  });
  const missing = found.find(({ link }) => link === undefined);
  if (missing !== undefined)
    return `there is no default route of IPv${missing.family}; name the interface with --iface`;
  const [one, other] = found.map(({ link }) => link);
  if (one === undefined) return "the network has no address family";
  if (other !== undefined && other.index !== one.index)
    return `the default route of IPv4 is over ${one.name}, that of IPv6 over ${other.name}; name one of them with --iface`;
  return { link: one, local: {} };
}

/** The candidate with an address of each family: the one that was asked for, else the public one, else the best. */
function withAddresses(
  host: HostNetwork,
  { link, local }: Candidate,
  publics: Publics,
  families: Families,
): External | Why {
  if (link.mtuBytes === 0) return `${link.name} has no MTU`;
  const onLink = (ip: Ip | undefined): Ip | undefined =>
    host.addresses.some((a) => a.index === link.index && a.prefix.ip.text === ip?.text) ? ip : undefined;
  const own = (family: Family, asked: Ip | undefined, announced: Ip | undefined): Ip | undefined =>
    asked ?? onLink(announced) ?? usable(host, link, family)[0];
  const v4 = families.v4 ? own(4, local.v4, publics.v4) : undefined;
  const v6 = families.v6 ? own(6, local.v6, publics.v6) : undefined;
  if (families.v4 && v4 === undefined) return `${link.name} has no IPv4 address`;
  if (families.v6 && v6 === undefined) return `${link.name} has no IPv6 address`;
  const { index, name, mtuBytes } = link;
  return {
    link: { index, name, mtuBytes },
    local: { ...(v4 ? { v4 } : {}), ...(v6 ? { v6 } : {}) },
    publics: { ...(v4 ? { v4: publics.v4 ?? v4 } : {}), ...(v6 ? { v6: publics.v6 ?? v6 } : {}) },
  };
}

const known = (bits: number, ...bytes: readonly number[]) =>
  prefix(ipFromBytes(Uint8Array.of(...bytes)), bits);
const LINK_LOCAL = [
  known(16, 169, 254, 0, 0),
  known(10, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
];
const isLinkLocal = (ip: Ip): boolean => LINK_LOCAL.some((p) => contains(p, ip));

/** The addresses of a link that others could reach, the best first: routed ones, the one before, those that stay, those for no time. */
function usable(host: HostNetwork, link: Link, family: Family): readonly Ip[] {
  const rank = (a: Address): number =>
    (isLinkLocal(a.prefix.ip) ? 8 : 0) +
    (isBefore(host, a.prefix.ip, family) ? 0 : 4) +
    (a.permanent ? 0 : 2) +
    (a.secondary ? 1 : 0);
  return host.addresses
    .filter((a) => a.index === link.index && a.prefix.ip.family === family)
    .filter((a) => !a.deprecated && !a.dadFailed && !isLoopback(a.prefix.ip) && !isUnspecified(a.prefix.ip))
    .toSorted((a, b) => rank(a) - rank(b))
    .map((a) => a.prefix.ip);
}

/** Most links that an error names. */
const NAMED = 8;
function inventory(host: HostNetwork): string {
  const shown = host.links
    .filter((l) => !l.loopback)
    .map((link) => {
      const ips = [...usable(host, link, 4), ...usable(host, link, 6)].map((ip) => ip.text);
      return ips.length === 0 ? link.name : `${link.name} (${ips.slice(0, 3).join(", ")})`;
    });
  const more = shown.length > NAMED ? ` and ${shown.length - NAMED} more` : "";
  return shown.length === 0 ? "no interface" : `${shown.slice(0, NAMED).join(", ")}${more}`;
}
