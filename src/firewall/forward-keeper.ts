import type { Family } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { openRuleSet } from "../nft/available.ts";
import { findChain, listRules } from "../nft/list.ts";
import { firewalldRuns } from "./firewalld.ts";
import { dropsBy } from "./foreign.ts";
import { hasWords } from "./iptables-plan.ts";
import { legacyLoaded, nftFamily } from "./iptables-probe.ts";
import { hasPrograms, type Run, runProgram, save, variant } from "./iptables-run.ts";
import { parseSave } from "./iptables-save.ts";

/**
 * Who on this host drops forwarded packets that nobody allowed. Allowing works there and nowhere else: a packet passes
 * only if every chain at the hook lets it (decision 16).
 */
export type ForwardKeeper = "firewalld" | "iptables" | "nobody";

/** Chains of Docker and ufw, which make FORWARD drop whenever they start or are reloaded. */
const MANAGERS: readonly string[] = ["DOCKER-USER", "ufw-user-forward", "ufw6-user-forward"];
const FAMILIES: readonly Family[] = [4, 6];

export interface KeeperOptions {
  readonly firewalld?: () => boolean;
  readonly run?: Run;
  readonly hasPrograms?: (family: Family) => boolean;
}

/**
 * firewalld if it runs, else iptables if its chain FORWARD drops or is kept by a program that makes it drop, and if the
 * programs are there to change it. Looked at in the namespace that this thread is in.
 */
export function findForwardKeeper(options: KeeperOptions = {}): ForwardKeeper {
  if ((options.firewalld ?? firewalldRuns)()) return "firewalld";
  const families = FAMILIES.filter(options.hasPrograms ?? hasPrograms);
  if (families.length === 0) return "nobody";
  using socket = openRuleSet();
  const drops = (family: Family): boolean =>
    (socket !== undefined && dropsByNft(socket, family)) ||
    (legacyLoaded(family, "filter") && dropsByLegacy(options.run ?? runProgram, family));
  return families.some(drops) ? "iptables" : "nobody";
}

function dropsByNft(socket: NetlinkSocket, family: Family): boolean {
  const table = { family: nftFamily[family], table: "filter" };
  const chain = findChain(socket, table, "FORWARD");
  if (chain?.base === undefined) return false;
  if (MANAGERS.some((name) => findChain(socket, table, name) !== undefined)) return true;
  return dropsBy(chain.base.policy, listRules(socket, table, "FORWARD")) !== undefined;
}

/** The older programs keep their tables where netlink does not see them. */
function dropsByLegacy(run: Run, family: Family): boolean {
  return savedDrops(save(variant(run, "legacy"), family, "filter") ?? "");
}

/** The same, told from the text that iptables-save prints of table `filter`. */
export function savedDrops(text: string): boolean {
  const table = parseSave(text).get("filter");
  if (table === undefined) return false;
  const last = table.get("FORWARD")?.at(-1);
  const everything =
    last !== undefined && (last.words[0] === "-j" || hasWords(["-m", "comment"], last.words.slice(0, 2)));
  const refused = last?.target === "DROP" || last?.target === "REJECT";
  return (
    text.includes("\n:FORWARD DROP ") || MANAGERS.some((name) => table.has(name)) || (everything && refused)
  );
}
