import { isNetError, NetError } from "../../errors.ts";
import { forwardHindrances, legacyHindrances } from "../../firewall/forward-hindrances.ts";
import { dropsBy } from "../../firewall/foreign.ts";
import { findForwardKeeper, type ForwardKeeper } from "../../firewall/forward-keeper.ts";
import { legacyLoaded, nftFamily } from "../../firewall/iptables-probe.ts";
import {
  hasPrograms,
  missing,
  type Run,
  runProgram,
  savedTables,
  settle,
} from "../../firewall/iptables-run.ts";
import { buildGroup, missingFeature, verifyChain } from "../../firewall/nftables-groups.ts";
import { type Group, inetTable } from "../../firewall/nftables-parts.ts";
import type { Family, IpPrefix } from "../../net/ip.ts";
import type { Request } from "../../netlink/message.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { openRuleSet } from "../../nft/available.ts";
import { commit, deleteChain, deleteTable } from "../../nft/batch.ts";
import { findChain, findTable, generation, listRules } from "../../nft/list.ts";
import type { TableRef } from "../../nft/model.ts";
import { printRule } from "../../nft/print.ts";
import { listLegacyChains } from "../../sys/legacy-tables.ts";
import {
  chainsOf,
  type ChainWish,
  type FirewallWish,
  groupsOf,
  isOfOthers,
  mendText,
  nftChainName,
} from "./masquerade.ts";
import { joinWords } from "../../firewall/iptables-save.ts";
import type { Previous } from "./subnet-env.ts";

/**
 * Keeps the host's firewall as a Flannel network wants it: looks, mends what others changed, and takes away what flanneld or
 * an earlier configuration left in the other kind of tables. What may wait for a lock or for another program is a task, which
 * who keeps the firewall may give to another process.
 */
export interface FirewallKeeper {
  /**
   * Makes right what is not; a sentence for each thing that was mended. Costs one request to the kernel while no table
   * has changed since all was right.
   * @throws feature/missing, program/failed, try-again, netlink/refused
   */
  ensure(): Promise<readonly string[]>;
  /** What nobody here can make right, by the last look: a sentence each, with what to do. */
  hindrances(): readonly string[];
  /** Takes away what `ensure` makes, but for sources of firewalld, which go when it is reloaded. */
  remove(): Promise<void>;
}

export const firewallKinds = ["iptables", "nftables"] as const;
type FirewallKind = (typeof firewallKinds)[number];

export const firewallVerbs = ["ensure", "remove"] as const;

/** All of the firewall is looked at, and mended or taken away. Plain data. */
export interface FirewallTask {
  readonly verb: (typeof firewallVerbs)[number];
  readonly kind: FirewallKind;
  readonly wish: FirewallWish;
  /** The networks that this host was in before: their chains go. */
  readonly before?: Previous;
}

/** A sentence for each thing that was mended, and for each that cannot be mended here. */
export interface Performed {
  readonly mended: readonly string[];
  readonly hindrances: readonly string[];
}

/** Does a task. Rejects as `FirewallKeeper.ensure` does. */
export type PerformTask = (task: FirewallTask) => Promise<Performed>;

/** The firewall of a host, as it is asked. */
export interface HostFirewall {
  readonly run: Run;
  readonly openRules: () => NetlinkSocket | undefined;
  readonly findForwardKeeper: () => Promise<ForwardKeeper>;
  readonly legacyLoaded: typeof legacyLoaded;
  readonly listLegacyChains: typeof listLegacyChains;
  /** Networks whose packets firewalld is to let through; those that it did not. */
  readonly trust: (networks: readonly IpPrefix[]) => Promise<readonly IpPrefix[]>;
}
const thisHost: HostFirewall = {
  run: runProgram,
  openRules: openRuleSet,
  findForwardKeeper,
  legacyLoaded,
  listLegacyChains,
  trust: async (networks) => (await import("../../firewall/firewalld.ts")).trustNetworks(networks),
};

/** iptables unless the network's configuration asks for nftables, or the host lacks the programs for a family that it has. */
export const firewallKind = (
  nftables: boolean,
  { v4, v6 }: Pick<FirewallWish, "v4" | "v6">,
  has: (family: Family) => boolean = hasPrograms,
): FirewallKind =>
  nftables || (v4 !== undefined && !has(4)) || (v6 !== undefined && !has(6)) ? "nftables" : "iptables";

const FAMILIES: readonly Family[] = [4, 6];
/** Others change the rule set, too; this many times in a row means that something else is wrong. */
const TRIES = 5;

/**
 * `before`: the networks that this host was in when it last wrote its file. `perform`: who does what may take long; this
 * process unless told, which then does nothing else meanwhile.
 */
export function keepFirewall(
  wish: FirewallWish,
  kind: FirewallKind,
  {
    before,
    host = thisHost,
    perform = (task) => performTask(task, host),
  }: { readonly before?: Previous; readonly host?: HostFirewall; readonly perform?: PerformTask } = {},
): FirewallKeeper {
  /** The generation of the rule set in which all was right. */
  let right: number | undefined;
  let hindrances: readonly string[] = [];
  const task = { kind, wish, ...(before === undefined ? {} : { before }) };
  return {
    async ensure() {
      const now = generationOf(host);
      if (now !== undefined && now === right) return [];
      const done = await perform({ ...task, verb: "ensure" });
      const { mended } = done;
      ({ hindrances } = done);
      // What was right before the look, and is unchanged since, is right.
      right = mended.length === 0 ? now : undefined;
      return mended;
    },
    async remove() {
      right = undefined;
      ({ hindrances } = await perform({ ...task, verb: "remove" }));
    },
    hindrances: () => hindrances,
  };
}

/** Does the task in this process, which waits for programs, for their lock and for the system bus. */
export async function performTask(
  { verb, kind, wish, before }: FirewallTask,
  host: HostFirewall = thisHost,
): Promise<Performed> {
  const networks = [wish.v4, wish.v6, before?.v4, before?.v6].flatMap((part) =>
    part === undefined ? [] : [part.network],
  );
  const nothing = { acceptForwarded: false, ...(wish.fabric === undefined ? {} : { fabric: wish.fabric }) };
  if (verb === "remove") return settled({ iptables: nothing, nftables: nothing }, networks, host);
  const keeper = wish.acceptForwarded ? await host.findForwardKeeper() : "nobody";
  const wishes: Wishes =
    kind === "iptables"
      ? { iptables: wish, nftables: nothing }
      : { iptables: forIptables(wish, keeper), nftables: wish };
  const { mended, hindrances } = settled(wishes, networks, host);
  return {
    mended: [...mended, ...(keeper === "firewalld" ? await trusted(wish, host) : [])],
    hindrances: [...hindrances, ...(wish.acceptForwarded ? forwarding(wish, keeper, host) : [])],
  };
}

/** Who drops what is forwarded all the same. */
function forwarding({ v4, v6 }: FirewallWish, keeper: ForwardKeeper, host: HostFirewall): readonly string[] {
  const networks = [v4, v6].flatMap((part) => (part === undefined ? [] : [part.network]));
  using rules = host.openRules();
  const seen = rules === undefined ? [] : forwardHindrances(rules, networks, keeper === "firewalld");
  // With programs somebody keeps it who can be asked.
  const isUnkept = keeper === "nobody" && FAMILIES.some((family) => host.legacyLoaded(family, "filter"));
  return isUnkept ? [...seen, ...legacyHindrances(host.listLegacyChains, networks)] : seen;
}

/** `networks`: those that this host is or was in. What is of others is not touched. */
function settled(
  { iptables, nftables }: Wishes,
  networks: readonly IpPrefix[],
  host: HostFirewall,
): Performed {
  using rules = host.openRules();
  const groups = groupsOf(nftables);
  if (rules === undefined && groups.length > 0) lacking();
  const kept = FAMILIES.map((family) =>
    keepIptables(chainsOf(iptables, family, networks), family, rules, host),
  );
  return {
    mended: [
      ...kept.flatMap(({ mended }) => mended),
      ...(rules === undefined ? [] : keepNftables(groups, networks, rules)),
    ],
    hindrances: kept.flatMap(({ hindrances }) => hindrances),
  };
}

/** What is to be in the tables of each. */
interface Wishes {
  readonly iptables: FirewallWish;
  readonly nftables: FirewallWish;
}

function lacking(): never {
  throw new NetError("feature/missing", { feature: "nftables", needs: "a kernel with nf_tables" });
}

/** No table of ours can allow what FORWARD of iptables drops: that is done there, and the rest is nftables'. */
function forIptables(
  { masquerade: _in_nftables, ...wish }: FirewallWish,
  keeper: ForwardKeeper,
): FirewallWish {
  return { ...wish, acceptForwarded: wish.acceptForwarded && keeper === "iptables" };
}

/** Where firewalld drops, its zone `trusted` lets through, whatever the kind of the other rules. */
async function trusted({ v4, v6 }: FirewallWish, { trust }: HostFirewall): Promise<readonly string[]> {
  const networks = [v4, v6].flatMap((part) => (part === undefined ? [] : [part.network]));
  return (await trust(networks)).map(({ text }) => `source ${text} of firewalld's zone trusted`);
}

/** Undefined where a change of the tables cannot be seen by it: the older iptables does not count there. */
function generationOf(host: HostFirewall): number | undefined {
  if (FAMILIES.some((f) => host.legacyLoaded(f, "nat") || host.legacyLoaded(f, "filter"))) return undefined;
  using rules = host.openRules();
  return rules && generation(rules);
}

function keepIptables(
  wanted: readonly ChainWish[],
  family: Family,
  rules: NetlinkSocket | undefined,
  { run, legacyLoaded: isLoaded }: HostFirewall,
): Performed {
  const mayHave = ({ table, chain }: ChainWish): boolean =>
    isLoaded(family, table) ||
    (rules !== undefined && findChain(rules, { family: nftFamily[family], table }, chain) !== undefined);
  const nothing = wanted.every((w) => w.rules === undefined);
  if (nothing && !wanted.some(mayHave)) return { mended: [], hindrances: [] };
  let mended = false;
  let isReadable = true;
  settle(run, family, () => {
    const saved = savedTables(run, family);
    isReadable = saved !== undefined;
    if (saved === undefined && nothing) return "";
    if (saved === undefined) throw missing(family);
    const text = mendText(saved, wanted);
    mended ||= text !== "";
    return text;
  });
  return {
    mended: mended ? [`rules of ${programOf[family]}`] : [],
    hindrances: isReadable || rules === undefined ? [] : leftOver(wanted, family, rules),
  };
}

const programOf = { 4: "iptables", 6: "ip6tables" } as const;

/** Chains that should go and that only the programs, which are not here, take away in order. */
function leftOver(wanted: readonly ChainWish[], family: Family, rules: NetlinkSocket): readonly string[] {
  return wanted.flatMap(({ table: name, chain, from, jump, of = [] }) => {
    const table = { family: nftFamily[family], table: name };
    if (findChain(rules, table, chain) === undefined) return [];
    const inside = listRules(rules, table, chain).flatMap((rule) => printRule(rule).split(" "));
    if (isOfOthers(inside, of)) return [];
    const policy = findChain(rules, table, from)?.base?.policy;
    // Where others are dropped it lets through what is to pass.
    if (
      name === "filter" &&
      policy !== undefined &&
      dropsBy(policy, listRules(rules, table, from)) !== undefined
    )
      return [];
    const program = `${programOf[family]} -t ${name}`;
    const commands = [`-D ${from} ${joinWords(jump)}`, `-F ${chain}`, `-X ${chain}`];
    return [
      `chain ${chain} of table ${table.family} ${name} is not needed any more, and there are no programs here to remove it: ` +
        `run on the host ${commands.map((words) => `${program} ${words}`).join("; ")}`,
    ];
  });
}

/** flanneld's own tables, which do what ours would; whoever runs instead of it, for the same network, takes them away. */
const FLANNELDS: readonly TableRef[] = [
  { family: "ip", table: "flannel-ipv4" },
  { family: "ip6", table: "flannel-ipv6" },
];

function keepNftables(
  groups: readonly Group[],
  networks: readonly IpPrefix[],
  rules: NetlinkSocket,
): readonly string[] {
  const texts = networks.map(({ text }) => text);
  const former = networks.map(nftChainName);
  const names = groups.flatMap((g) => g.chains.map((c) => c.name));
  for (let attempt = 1; ; attempt++) {
    const decidedOn = generation(rules);
    const wrong = groups.filter((g) => g.chains.some((c) => isWrong(rules, c)));
    const stale = [...new Set(former)].filter(
      (name) => !names.includes(name) && findChain(rules, inetTable, name) !== undefined,
    );
    const theirs = FLANNELDS.filter(
      (t) => findTable(rules, t) !== undefined && !isOfOthers(wordsIn(rules, t), texts),
    );
    const changes: readonly Request[] = [
      ...wrong.flatMap((g) => buildGroup(rules, g)),
      ...stale.map((name) => deleteChain(inetTable, name)),
      ...theirs.map(deleteTable),
    ];
    try {
      commit(rules, changes);
      return [
        ...wrong.map((g) => `nftables chain ${g.witness.chain}`),
        ...stale.map((name) => `nftables chain ${name}, which was stale`),
        ...theirs.map((t) => `nftables table ${t.table} of flanneld`),
      ];
    } catch (e) {
      if (!isNetError(e, "netlink/refused")) throw e;
      if (generation(rules) === decidedOn || attempt === TRIES) {
        const lack = missingFeature(e.detail);
        throw lack === undefined ? e : new NetError("feature/missing", lack, { cause: e });
      }
    }
  }
}

const wordsIn = (rules: NetlinkSocket, table: TableRef): readonly string[] =>
  listRules(rules, table).flatMap((rule) => printRule(rule).split(" "));

function isWrong(rules: NetlinkSocket, chain: Parameters<typeof verifyChain>[2]): boolean {
  try {
    verifyChain(rules, inetTable, chain);
    return false;
  } catch (e) {
    if (isNetError(e, "check/differs")) return true;
    throw e;
  }
}
