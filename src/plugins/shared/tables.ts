/** Choosing a routing table in the container that nothing else uses. */
import { NetError } from "../../errors.ts";
import type { Facts } from "../../netstate/facts.ts";
import { linkTypeOf } from "../../rtnl/kinds.ts";
import type { Link } from "../../rtnl/link.ts";

/** The kernel's own: default, main and local (RT_TABLE_*, linux/rtnetlink.h). */
const RESERVED = [253, 254, 255];

/** The largest number of a table: it has 32 bits. */
export const LAST_TABLE = 0xffffffff;

/** Tables that a route or a rule of the container names, or that a VRF routes by. Facts: `routing` and `linksOf`. */
export function tablesInUse(facts: Facts): ReadonlySet<number> {
  const routes = (facts.routes.get("container") ?? []).map(({ table }) => table);
  const rules = (facts.rules.get("container") ?? []).map(({ table }) => table);
  const vrfs = (facts.linksOf.get("container") ?? []).flatMap((link) => vrfTable(link) ?? []);
  return new Set([...RESERVED, ...routes, ...rules, ...vrfs]);
}

/** The table of a VRF; undefined for every other link. */
export function vrfTable(link: Link): number | undefined {
  const type = linkTypeOf(link);
  return type?.kind === "vrf" ? type.table : undefined;
}

/** The first free table from `first` on. Throws `resource/exists` if there is none. */
export function freeTable(used: ReadonlySet<number>, first: number): number {
  for (let table = first; table <= LAST_TABLE; table++) if (!used.has(table)) return table;
  throw new NetError("resource/exists", { what: "every routing table", where: "the container" });
}
