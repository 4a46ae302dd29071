import { mayHaveSystemBus } from "../dbus/address.ts";
import type { Family } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { openRuleSet } from "../nft/available.ts";
import { findChain, listRules } from "../nft/list.ts";
import { dropsBy } from "./foreign.ts";
import { FORWARD_MANAGERS } from "./iptables-names.ts";
import { legacyLoaded, nftFamily } from "./iptables-probe.ts";
import { hasPrograms, runProgram } from "./iptables-run.ts";

/**
 * Who on this host drops forwarded packets that nobody allowed. Allowing works there and nowhere else: a packet passes
 * only if every chain at the hook lets it (decision 16).
 */
export type ForwardKeeper = "firewalld" | "iptables" | "nobody";

const FAMILIES: readonly Family[] = [4, 6];

/**
 * firewalld if it runs, else iptables if its chain FORWARD drops or is kept by a program that makes it drop, and if the
 * programs are there to change it. Looked at in the namespace that this thread is in. What a host has not is not
 * loaded.
 */
export async function findForwardKeeper(): Promise<ForwardKeeper> {
  if (mayHaveSystemBus() && (await import("./firewalld.ts")).firewalldRuns()) return "firewalld";
  const families = FAMILIES.filter(hasPrograms);
  if (families.length === 0) return "nobody";
  using socket = openRuleSet();
  for (const family of families) {
    if (socket !== undefined && dropsByNft(socket, family)) return "iptables";
    if (!legacyLoaded(family, "filter")) continue;
    const { legacyDrops } = await import("./iptables-drops.ts");
    if (legacyDrops(runProgram, family)) return "iptables";
  }
  return "nobody";
}

function dropsByNft(socket: NetlinkSocket, family: Family): boolean {
  const table = { family: nftFamily[family], table: "filter" };
  const chain = findChain(socket, table, "FORWARD");
  if (chain?.base === undefined) return false;
  if (FORWARD_MANAGERS.some((name) => findChain(socket, table, name) !== undefined)) return true;
  return dropsBy(chain.base.policy, listRules(socket, table, "FORWARD")) !== undefined;
}
