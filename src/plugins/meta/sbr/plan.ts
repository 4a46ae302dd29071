import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result, ResultIp } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { contains, defaultRoute, hostPrefix, type Ip, type IpPrefix } from "../../../net/ip.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import type { NetObject, Of } from "../../../netstate/model.ts";
import { type Route, RT_TABLE_MAIN } from "../../../rtnl/route.ts";
import type { RoutingRule } from "../../../rtnl/rule.ts";
import { addressesOf } from "../../shared/container.ts";
import { freeTable, tablesInUse } from "../../shared/tables.ts";
import type { SbrConfig } from "./config.ts";

/**
 * Source-based routing: what is sent from an address of this interface leaves by this interface. Each address gets a
 * table with the interface's routes and a rule that leads to it; the main table is left to other interfaces.
 */
type Input = PlanInput<SbrConfig>;
type Rule = Of<"rule">["rule"];

/** Behind the kernel's rule for local addresses and that of VRFs, before those for the main table; see docs/limits.md. */
const PRIORITY = 32000;
const FIRST_TABLE = 100;

export const needs = ({ ifname }: Input): Needs => ({
  links: [{ place: "container", name: ifname }],
  routing: "container",
  linksOf: "container",
});

export function plan(input: Input, facts: Facts): Plan {
  const result = previous(input);
  const own = addressesOf(result, input.ifname);
  if (own.length === 0)
    throw new NetError("prev-result/invalid", { why: `${input.ifname} has no IP address to route by` });
  const { table } = input.config;
  const objects =
    table === undefined
      ? tablesOfOwn(input, own, facts)
      : own.map(({ address: { ip } }) => {
          const there = ruleFor(ip, facts, (r) => r.table === table);
          return ruleObject({ ...hostRule(ip), priority: there?.priority ?? PRIORITY, table });
        });
  return { state: { objects }, result };
}

function previous({ prevResult }: Input): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "sbr needs the result of the plugin before it" });
  return prevResult;
}

const hostRule = (ip: Ip): Pick<Rule, "family" | "src"> => ({ family: ip.family, src: hostPrefix(ip) });

const ruleObject = (rule: Rule): NetObject => ({
  kind: "rule",
  possession: "exclusive",
  place: "container",
  rule,
});

/** A rule that leads packets of this one source to a table; whoever made it. */
const leadsFrom = (ip: Ip, { src, dst, mark, action }: RoutingRule): boolean =>
  action === undefined && src?.text === hostPrefix(ip).text && dst === undefined && mark === undefined;

const ruleFor = (
  ip: Ip,
  facts: Facts,
  fits: (rule: RoutingRule) => boolean = () => true,
): RoutingRule | undefined => facts.rules.get("container")?.find((r) => leadsFrom(ip, r) && fits(r));

function tablesOfOwn(input: Input, own: readonly ResultIp[], facts: Facts): NetObject[] {
  const routes = routesOf(input.ifname, facts);
  const used = new Set(tablesInUse(facts));
  const subnets = own.map(({ address }) => address);
  const made = own.flatMap((ip) => {
    const there = ruleFor(ip.address.ip, facts);
    const table = there?.table ?? freeTable(used, FIRST_TABLE);
    used.add(table);
    const gateway = input.config.gateways.get(ip.address.ip.family);
    const copied = routes.filter(
      (r) => belongs(r, ip.address, subnets) && !(gateway !== undefined && r.dst.bits === 0),
    );
    const all = [...copied, ...gatewayRoute(gateway ?? ip.gateway, copied)];
    return [
      ruleObject({ ...hostRule(ip.address.ip), priority: there?.priority ?? PRIORITY, table }),
      ...all.toSorted(nearFirst).map((r) => routeObject(input.ifname, { ...r, table })),
    ];
  });
  const main = input.config.addSourceHints ? hints(input.ifname, routes, subnets) : [];
  const moved = routes.filter((r) => !input.config.addSourceHints || r.gateway !== undefined);
  // A route by a gateway has to be gone before, and comes back after, the one by which the gateway is reached.
  return [
    ...made,
    ...main,
    ...moved
      .toSorted(nearFirst)
      .toReversed()
      .map((r) => taken(input.ifname, r)),
  ];
}

/** The interface's routes in the main table, but those of link-local addresses, which belong to every interface. */
function routesOf(ifname: string, facts: Facts): readonly Route[] {
  const link = facts.links.get(factKey("container", ifname));
  if (link === undefined)
    throw new NetError("prev-result/invalid", { why: `there is no interface ${ifname} in the container` });
  return (facts.routes.get("container") ?? []).filter(
    (r) => r.oif === link.index && r.table === RT_TABLE_MAIN && !isLinkLocal(r.dst),
  );
}

/** `fe80::/10` (RFC 4291, 2.4). */
const isLinkLocal = ({ ip: { family, bytes } }: IpPrefix): boolean =>
  family === 6 && bytes[0] === 0xfe && ((bytes[1] ?? 0) & 0xc0) === 0x80;

/** True if a route is for packets from this address: it speaks of its subnet, or of no subnet of the interface at all. */
function belongs({ dst, gateway, src }: Route, own: IpPrefix, subnets: readonly IpPrefix[]): boolean {
  if (dst.ip.family !== own.ip.family) return false;
  const speaksOf = (subnet: IpPrefix): boolean =>
    [gateway, src].some((ip) => ip !== undefined && contains(subnet, ip));
  return speaksOf(own) || !subnets.some(speaksOf);
}

/** What is reached without a gateway comes first: gateways are reached by it. */
const nearFirst = (a: Partial<Route>, b: Partial<Route>): number =>
  Number(a.gateway !== undefined) - Number(b.gateway !== undefined);

/** The default route of a table, unless one was copied. */
const gatewayRoute = (
  gateway: Ip | undefined,
  copied: readonly Route[],
): readonly Pick<Route, "dst" | "gateway">[] =>
  gateway === undefined || copied.some((r) => r.dst.bits === 0)
    ? []
    : [{ dst: defaultRoute(gateway.family), gateway }];

type Copy = Pick<Route, "dst"> & Partial<Route>;

const routeObject = (link: string, { oif: _, type: __, protocol: ___, ...route }: Copy): NetObject => ({
  kind: "route",
  possession: "exclusive",
  place: "container",
  link,
  foreignLink: true,
  ...route,
});

const taken = (link: string, { oif: _, ...route }: Route): NetObject => ({
  kind: "taken-route",
  possession: "borrowed",
  place: "container",
  link,
  route,
});

/**
 * Routes to the subnets that say which address to send from. IPv4 routes of the kernel say it already; beside one of IPv6
 * another is put that is better by one.
 */
const hints = (link: string, routes: readonly Route[], subnets: readonly IpPrefix[]): NetObject[] =>
  routes.flatMap((r) => {
    const source = subnets.find((s) => s.ip.family === 6 && s.bits === r.dst.bits && contains(s, r.dst.ip));
    if (source === undefined || r.gateway !== undefined || r.src !== undefined) return [];
    return [routeObject(link, { ...r, src: source.ip, priority: Math.max((r.priority ?? 1024) - 1, 1) })];
  });
