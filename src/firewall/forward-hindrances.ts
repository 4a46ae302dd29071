/**
 * Chains that drop what is forwarded for a network, and in which no rule names it: what is accepted elsewhere does not help, and
 * where the programs are missing, or the chain is not iptables', nobody here can allow it. Told, with what to do.
 */
import { isNetError } from "../errors.ts";
import { contains, type Family, type IpPrefix, parsePrefix } from "../net/ip.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { listRules } from "../nft/list.ts";
import type { RuleInfo } from "../nft/model.ts";
import { printRule } from "../nft/print.ts";
import type { listLegacyChains } from "../sys/legacy-tables.ts";
import { findForwardDrops, type ForwardDrop } from "./foreign.ts";
import { nftFamily } from "./iptables-probe.ts";

const programOf = { 4: "iptables", 6: "ip6tables" } as const;
const FIREWALLD = "firewalld";
const FAMILIES: readonly Family[] = [4, 6];

/**
 * A sentence for each chain of nftables, or of iptables over it, that stands in the way of one of the networks. `trusted`:
 * firewalld knows of them, and how its own table lets them through is its affair.
 */
export function forwardHindrances(
  socket: NetlinkSocket,
  networks: readonly IpPrefix[],
  trusted: boolean,
): readonly string[] {
  return findForwardDrops(socket).flatMap((drop) => {
    if (trusted && drop.table === FIREWALLD) return [];
    const rules = listRules(socket, drop);
    return networks
      .filter(({ ip }) => drop.family === "inet" || drop.family === nftFamily[ip.family])
      .filter((network) => !acceptsBothWays(rules, drop.chain, network))
      .map((network) => sentence(drop, network));
  });
}

/** The same of the older iptables, of whose rules no more is known than their policy. */
export function legacyHindrances(
  list: typeof listLegacyChains,
  networks: readonly IpPrefix[],
): readonly string[] {
  return FAMILIES.flatMap((family) => {
    const network = networks.find(({ ip }) => ip.family === family);
    if (network === undefined) return [];
    try {
      const drops = list(family)?.some(
        ({ table, hook, policy }) => table === "filter" && hook === "forward" && policy === "drop",
      );
      const where = `chain FORWARD of the older ${programOf[family]}`;
      return drops
        ? [`${where} may drop what is forwarded for ${network.text}: ${advice(family, network)}`]
        : [];
    } catch (e) {
      if (!isNetError(e, "sys/call")) throw e;
      return [`whether the older ${programOf[family]} drops what is forwarded is not known: ${e.message}`];
    }
  });
}

function sentence({ family, table, chain, by }: ForwardDrop, network: IpPrefix): string {
  const what = by === "policy" ? "by its policy" : "by its last rule";
  const isIptables = family === nftFamily[network.ip.family] && table === "filter" && chain === "FORWARD";
  const side = network.ip.family === 4 ? "ip" : "ip6";
  const how = isIptables
    ? advice(network.ip.family, network)
    : ["saddr", "daddr"]
        .map((way) => `nft insert rule ${family} ${table} ${chain} ${side} ${way} ${network.text} accept`)
        .join("; ");
  const hint = isIptables ? how : `allow it there on the host: ${how}`;
  return `chain ${chain} of table ${family} ${table} drops ${what} what no rule accepts, and none names ${network.text}: ${hint}`;
}

function advice(family: Family, { text }: IpPrefix): string {
  const program = programOf[family];
  const commands = ["-s", "-d"].map((way) => `${program} -I FORWARD ${way} ${text} -j ACCEPT`).join("; ");
  return `allow it on the host: ${commands}; or give the agent the programs of ${program}, and start it anew`;
}

function acceptsBothWays(rules: readonly RuleInfo[], chain: string, network: IpPrefix): boolean {
  // Grows while it is gone through: chains behind chains.
  const reached = new Set([chain]);
  const ways = new Set<string>();
  for (const name of reached)
    for (const text of rules.filter((rule) => rule.chain === name).map(printRule)) {
      const next = JUMP.exec(text)?.[1];
      if (next !== undefined) reached.add(next);
      const [, way = "", prefix = ""] = ACCEPT.exec(text) ?? [];
      const accepted = parsePrefix(prefix);
      if (accepted.ok && includes(accepted.value, network)) ways.add(way);
    }
  return ways.size === 2;
}

const includes = (large: IpPrefix, small: IpPrefix): boolean =>
  large.bits <= small.bits && contains(large, small.ip);

const IDLE = String.raw`(?:\[match comment\] |counter packets \d+ bytes \d+ )*`;
/** Every packet that comes to the rule goes on in the chain that it names. */
const JUMP = new RegExp(`^${IDLE}jump (\\S+)$`);
const ACCEPT = new RegExp(`^ip6? (saddr|daddr) (\\S+) ${IDLE}accept$`);
