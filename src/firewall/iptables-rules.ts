import { type Family, hostPrefix, type Ip, isUnspecified, network } from "../net/ip.ts";
import {
  masqueradeChain,
  masqueradeComment,
  portMapChain,
  portMapComment,
  SET_MARK_COMMENT,
  MASQUERADE_COMMENT,
  shared,
} from "./iptables-names.ts";
import type { FirewallRule, FirewallState, IptablesOptions, Mark, PortMapping } from "./model.ts";

/**
 * What a firewall state is in iptables: chains, their rules and the jumps to them, as words in the order in which
 * iptables-save prints them. Pure: it reads nothing of what is there.
 */
export type Words = readonly string[];

/** One chain that belongs to one attachment, with the rules elsewhere that lead to it. */
export interface OwnedChain {
  readonly kind: "masquerade" | "port-map";
  readonly name: string;
  readonly rules: readonly Words[];
  readonly jumps: readonly { readonly chain: string; readonly words: Words }[];
}

/** The two kinds of a state's rules in table `nat`, for one family. */
export interface FamilyRules {
  readonly masquerades: readonly Extract<FirewallRule, { kind: "masquerade" }>[];
  readonly mappings: readonly PortMapping[];
}

/** More ports than this do not fit into one multiport match (XT_MULTI_PORTS, linux/netfilter/xt_multiport.h). */
const MULTI_PORTS = 15;
/** Bit 13: 0x2000, as in the reference. */
const DEFAULT_MARK_BIT = 13;

/**
 * The state's rules of that family in table `nat`; undefined if it has none. What concerns frames cannot be expressed, and a
 * host address of another family than its target cannot be met: both are mistakes of the caller (`TypeError`).
 */
export function rulesOf(state: FirewallState, family: Family): FamilyRules | undefined {
  const masquerades: Extract<FirewallRule, { kind: "masquerade" }>[] = [];
  const mappings: PortMapping[] = [];
  for (const rule of state.rules) {
    if (rule.kind === "mac-check" || rule.kind === "port-isolation")
      throw new TypeError(`iptables sees no frames between ports of a bridge: ${rule.kind}`);
    if (rule.kind === "closed-link") throw new TypeError("links are closed by nftables alone");
    if (rule.kind === "masquerade") {
      if (rule.address.family === family) masquerades.push(rule);
    } else if (rule.kind === "port-mapping" && rule.target.family === family) {
      if (rule.conditions !== undefined) throw new TypeError("words of nft cannot be said in iptables");
      if (wantedHostIp(rule)?.family === (family === 4 ? 6 : 4))
        throw new TypeError(`host address ${rule.hostIp?.text} cannot lead to ${rule.target.text}`);
      mappings.push(rule);
    }
  }
  return masquerades.length + mappings.length > 0 ? { masquerades, mappings } : undefined;
}

/**
 * The option with a line break or a zero byte in it, which would begin another line of iptables-restore; undefined
 * if all can be written.
 */
export function unwritable(options: IptablesOptions = {}): string | undefined {
  const words = {
    externalSetMarkChain: [options.externalSetMarkChain ?? ""],
    conditionsV4: options.conditionsV4 ?? [],
    conditionsV6: options.conditionsV6 ?? [],
    iptablesAdminChainName: [options.adminChain ?? ""],
  };
  return Object.entries(words).find(([, list]) => list.some((w) => /[\n\r\0]/.test(w)))?.[0];
}

/** The host address that a mapping is limited to; undefined if it is for all of them. */
export const wantedHostIp = (m: PortMapping): Ip | undefined =>
  m.hostIp === undefined || isUnspecified(m.hostIp) ? undefined : m.hostIp;

/** Counts and does nothing: the first rule of each chain of ours, by which its owner is found. */
export const markRule = (mark: Mark): Words => ["-m", "comment", "--comment", mark];

/** The chains of a state, under the names that the reference gives them. */
export function ownedChains(state: FirewallState, family: Family, rules: FamilyRules): OwnedChain[] {
  const chains: OwnedChain[] = [];
  const options = state.iptables ?? {};
  if (rules.masquerades.length > 0) chains.push(masqueradeOf(state, family, rules));
  if (rules.mappings.length > 0) chains.push(portMapOf(state, family, rules, options));
  return chains;
}

/** The same chain under another name. */
export const renamed = (chain: OwnedChain, name: string): OwnedChain => ({
  ...chain,
  name,
  jumps: chain.jumps.map((j) => ({ chain: j.chain, words: [...j.words.slice(0, -1), name] })),
});

function masqueradeOf(state: FirewallState, family: Family, rules: FamilyRules): OwnedChain {
  const name = masqueradeChain(state.network, state.containerId);
  const comment = ["-m", "comment", "--comment", masqueradeComment(state.network, state.containerId)];
  // Every exception stands before the masquerade: behind it, that of a second subnet would never be reached.
  const subnets = new Set(rules.masquerades.map((r) => network(r.subnet).text));
  const sources = new Set(rules.masquerades.map((r) => hostPrefix(r.address).text));
  const multicast = family === 4 ? "224.0.0.0/4" : "ff00::/8";
  return {
    kind: "masquerade",
    name,
    rules: [
      ...[...subnets].map((subnet) => ["-d", subnet, ...comment, "-j", "ACCEPT"]),
      ["!", "-d", multicast, ...comment, "-j", "MASQUERADE"],
    ],
    jumps: [...sources].map((source) => ({
      chain: "POSTROUTING",
      words: ["-s", source, ...comment, "-j", name],
    })),
  };
}

function portMapOf(
  state: FirewallState,
  family: Family,
  { mappings }: FamilyRules,
  options: IptablesOptions,
): OwnedChain {
  const name = portMapChain(state.network, state.containerId);
  const comment = ["-m", "comment", "--comment", portMapComment(state.network, state.containerId)];
  const conditions = (family === 4 ? options.conditionsV4 : options.conditionsV6) ?? [];
  const protocols = [...new Set(mappings.map((m) => m.protocol))].sort();
  const entries = protocols.flatMap((protocol) => {
    const ports = new Set(mappings.filter((m) => m.protocol === protocol).map((m) => m.hostPort));
    return chunks([...ports], MULTI_PORTS).map((some) => ({
      chain: shared.dnat,
      words: ["-p", protocol, ...comment, ...multiport(some), ...conditions, "-j", name],
    }));
  });
  const setMark = options.externalSetMarkChain ?? shared.setMark;
  return { kind: "port-map", name, rules: mappings.flatMap((m) => mappingRules(m, setMark)), jumps: entries };
}

function mappingRules(m: PortMapping, setMark: string): Words[] {
  const hostIp = wantedHostIp(m);
  const to = hostIp ? ["-d", hostPrefix(hostIp).text] : [];
  const port = ["-p", m.protocol, "-m", m.protocol, "--dport", String(m.hostPort)];
  const sources: Words[] =
    m.masquerade === "none"
      ? []
      : m.masquerade === "all"
        ? [[]]
        : [["-s", network(m.subnet).text], ...(m.target.family === 4 ? [["-s", "127.0.0.1/32"]] : [])];
  const target = m.target.family === 4 ? m.target.text : `[${m.target.text}]`;
  return [
    ...sources.map((from) => [...from, ...to, ...port, "-j", setMark]),
    [...to, ...port, "-j", "DNAT", "--to-destination", `${target}:${m.targetPort}`],
  ];
}

const multiport = (ports: readonly number[]): Words => ["-m", "multiport", "--dports", ports.join(",")];

function chunks<T>(items: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let at = 0; at < items.length; at += size) out.push(items.slice(at, at + size));
  return out;
}

/** A rule that has to be there once, whoever made it, and is never removed. */
export interface SharedRule {
  readonly chain: string;
  readonly words: Words;
  /** In front of the chain's other rules. */
  readonly first?: true;
}

/** What all mappings of a host need in table `nat`. Without a mark to set, the chains of the mark are not made. */
export function sharedNat(
  rules: FamilyRules,
  options: IptablesOptions,
): { chains: readonly string[]; rules: readonly SharedRule[] } {
  if (rules.mappings.length === 0) return { chains: [], rules: [] };
  const local = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", shared.dnat];
  const entry: SharedRule[] = [
    { chain: "PREROUTING", words: local },
    { chain: "OUTPUT", words: local },
  ];
  if (options.externalSetMarkChain !== undefined || rules.mappings.every((m) => m.masquerade === "none"))
    return { chains: [shared.dnat], rules: entry };
  const bit = `0x${(2 ** (options.markMasqBit ?? DEFAULT_MARK_BIT)).toString(16)}`;
  const value = `${bit}/${bit}`;
  const comment = (text: string): Words => ["-m", "comment", "--comment", text];
  return {
    chains: [shared.dnat, shared.masquerade, shared.setMark],
    rules: [
      ...entry,
      {
        chain: "POSTROUTING",
        words: [...comment(MASQUERADE_COMMENT), "-j", shared.masquerade],
        first: true,
      },
      { chain: shared.masquerade, words: ["-m", "mark", "--mark", value, "-j", "MASQUERADE"] },
      {
        chain: shared.setMark,
        words: [...comment(SET_MARK_COMMENT), "-j", "MARK", "--set-xmark", value],
      },
    ],
  };
}

/** Masqueraded IPv4 mappings need route_localnet, and that needs the guard. */
export const wantsGuard = (rules: FamilyRules): boolean =>
  rules.mappings.some((m) => m.target.family === 4 && m.masquerade !== "none");

/**
 * With route_localnet the kernel routes what enters from outside for 127.0.0.0/8. Nothing honest does: it is dropped
 * before translation, so that no neighbour and no container reads what is bound to the host's loopback alone.
 */
export const guardRules: readonly SharedRule[] = [
  { chain: "PREROUTING", words: ["-j", shared.guard] },
  { chain: shared.guard, words: ["-d", "127.0.0.0/8", "!", "-i", "lo", "-j", "DROP"] },
];
