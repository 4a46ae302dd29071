import { NetError } from "../errors.ts";
import type { Family } from "../net/ip.ts";
import { readText } from "../sys/files.ts";
import { openRuleSet } from "../nft/available.ts";
import { findChain, listChains } from "../nft/list.ts";
import { MASQUERADE_PREFIX, shared } from "./iptables-names.ts";

/**
 * Asks the kernel, without starting a program, whether there can be anything of iptables for a container. Most hosts
 * that use nftables have nothing, and a removal that has lost its record would run two programs to learn that.
 */
/** iptables over nftables keeps table `nat` as the table of that name in these families. */
export const nftFamily = { 4: "ip", 6: "ip6" } as const;

/**
 * Whether table `nat` has chains of containers, or if `names` is given, a table any of those; true, too, if it cannot be
 * known.
 */
export function mayHaveChains(
  family: Family,
  names?: readonly string[],
  name: "nat" | "filter" = "nat",
): boolean {
  if (legacyLoaded(family, name)) return true;
  const table = { family: nftFamily[family], table: name };
  const ours: readonly string[] = Object.values(shared);
  try {
    using socket = openRuleSet();
    if (socket === undefined) return false;
    if (names !== undefined) return names.some((name) => findChain(socket, table, name) !== undefined);
    return listChains(socket, table.family).some(
      (c) => c.table === "nat" && c.chain.startsWith(MASQUERADE_PREFIX) && !ours.includes(c.chain),
    );
  } catch (e) {
    if (e instanceof NetError && e.is("netlink/refused")) return true;
    throw e;
  }
}

/** The chain that host ports are entered in, whoever made them. */
export const PORT_CHAINS: readonly string[] = [shared.dnat];

/** Whether this process's namespace has that legacy table; it appears with the first program that looks at it. */
export function legacyLoaded(family: Family, table: "nat" | "filter"): boolean {
  try {
    const names = readText(`/proc/net/ip${family === 4 ? "" : "6"}_tables_names`);
    return names.split("\n").includes(table);
  } catch {
    return false; // The kernel has no legacy tables.
  }
}
