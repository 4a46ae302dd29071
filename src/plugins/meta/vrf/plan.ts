import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result } from "../../../cni/result.ts";
import { invalid } from "../../../cni/json.ts";
import { NetError } from "../../../errors.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import type { Of } from "../../../netstate/model.ts";
import type { Address } from "../../../rtnl/address.ts";
import type { Link } from "../../../rtnl/link.ts";
import { type Route, routeProtocol, RT_TABLE_LOCAL, RT_TABLE_MAIN } from "../../../rtnl/route.ts";
import { freeTable, tablesInUse, vrfTable } from "../../shared/tables.ts";
import type { VrfConfig } from "./config.ts";

/**
 * The container's interface as a member of a VRF: a routing domain of its own, with the interface's addresses and routes
 * in it as they were outside.
 */
type Input = PlanInput<VrfConfig | undefined>;
type Member = Of<"vrf-member">;

const FIRST_TABLE = 1;

export const needs = ({ ifname }: Input): Needs => ({
  links: [{ place: "container", name: ifname, addresses: true }],
  routing: "container",
  linksOf: "container",
});

export function plan(input: Input, facts: Facts): Plan {
  const { ifname } = input;
  const config = configOf(input);
  const key = factKey("container", ifname);
  const link = facts.links.get(key);
  if (link === undefined)
    throw new NetError("prev-result/invalid", { why: `there is no interface ${ifname} in the container` });
  if (link.loopback)
    throw new NetError("prev-result/invalid", {
      why: `${ifname} is a loopback, which the kernel lets into no VRF`,
    });
  const links = facts.linksOf.get("container") ?? [];
  const there = links.find((l) => l.name === config.name);
  refuseOtherMaster(link, there, links);
  const table = tableOf(config, there, facts);
  const on = { addresses: facts.addresses.get(key) ?? [], routes: facts.routes.get("container") ?? [] };
  const member = memberOf(link, { name: config.name, table }, on);
  return { state: { objects: [member] }, result: previous(input) };
}

/** The link in the VRF, with what is on it now, whether it is in there already or not. */
export const memberOf = (
  link: Link,
  vrf: Member["vrf"],
  on: { readonly addresses: readonly Address[]; readonly routes: readonly Route[] },
): Member => ({
  kind: "vrf-member",
  possession: "borrowed",
  place: "container",
  link: link.name,
  vrf,
  addresses: on.addresses.filter(isDropped).map(again),
  routes: on.routes.flatMap((r) => asOutside(r, link, vrf.table)),
});

function configOf({ config, ifname }: Input): VrfConfig {
  if (config === undefined) throw new TypeError("the configuration was read for removal");
  if (config.name === ifname) invalid("vrfname", `${ifname} is the container's interface itself`);
  return config;
}

function previous({ prevResult }: Input): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "vrf needs the result of the plugin before it" });
  return prevResult;
}

function refuseOtherMaster(link: Link, vrf: Link | undefined, links: readonly Link[]): void {
  if (link.master === undefined || link.master === vrf?.index) return;
  const master = links.find((l) => l.index === link.master)?.name ?? `#${link.master}`;
  throw new NetError("resource/exists", {
    what: `a master of ${link.name}, ${master},`,
    where: "the container",
  });
}

/** That of the VRF if it is there, else the one that is asked for, else a free one. */
function tableOf({ name, table }: VrfConfig, there: Link | undefined, facts: Facts): number {
  const existing = there && vrfTable(there);
  if (there !== undefined && existing === undefined)
    throw new NetError("resource/exists", {
      what: `a link ${name} of kind ${there.kind ?? "hardware"}`,
      where: "the container",
    });
  if (existing !== undefined && table !== undefined && existing !== table)
    throw new NetError("resource/exists", {
      what: `a VRF ${name} with the table ${existing}, not ${table},`,
      where: "the container",
    });
  return existing ?? table ?? freeTable(tablesInUse(facts), FIRST_TABLE);
}

/** Addresses that the kernel makes anew by itself: link-local ones, and those of a router's advertisement. */
const isDropped = ({ prefix, linkLocal, permanent }: Address): boolean =>
  prefix.ip.family === 6 && !linkLocal && permanent;

/** An address that was found to be nobody else's is not looked for again. */
const again = ({ prefix, tentative, noPrefixRoute }: Address): Member["addresses"][number] => ({
  address: prefix,
  dad: tentative,
  connectedRoute: noPrefixRoute !== true,
});

/** Routes over the link but those that the kernel makes by itself, as they are when the link is in no VRF. */
function asOutside({ oif, ...route }: Route, link: Link, table: number): Member["routes"] {
  const { kernel, redirect, routerAdvertisement } = routeProtocol;
  const own: readonly number[] = [kernel, redirect, routerAdvertisement];
  if (oif !== link.index || route.table === RT_TABLE_LOCAL || own.includes(route.protocol)) return [];
  const inside = link.master !== undefined && route.table === table;
  return [inside ? { ...route, table: RT_TABLE_MAIN } : route];
}
