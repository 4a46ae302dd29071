/** The firewall as it is loaded: tables and chains of everybody, who drops what is forwarded, and what iptables holds. */
import { findForwardDrops, type ForwardDrop } from "../../../firewall/foreign.ts";
import { forwardDropIn } from "../../../firewall/iptables-drops.ts";
import { legacyLoaded } from "../../../firewall/iptables-probe.ts";
import { type Run, runProgram, save, variant } from "../../../firewall/iptables-run.ts";
import type { Family } from "../../../net/ip.ts";
import { peekRecord } from "../../../netstate/record.ts";
import type { NetlinkSocket } from "../../../netlink/socket.ts";
import { openRuleSet } from "../../../nft/available.ts";
import { listChains, listTables, type TableInfo } from "../../../nft/list.ts";
import type { ChainInfo } from "../../../nft/model.ts";
import { readText, unlessErrno } from "../../../sys/files.ts";
import { allSeen, look, type Seen, seen, unseen } from "../seen.ts";

export interface RuleSetFacts {
  readonly tables: Seen<readonly TableInfo[]>;
  readonly chains: Seen<readonly ChainInfo[]>;
  readonly drops: Seen<readonly Drop[]>;
  readonly iptables: Seen<readonly SavedFamily[]>;
  /** The kind of the installed program `iptables`, which is what the plugins run; undefined if there is none. */
  readonly usualIptables: Seen<"nft" | "legacy" | undefined>;
  /** Marks in rules of iptables of which there is no record. */
  readonly unrecorded: Seen<readonly string[]>;
}

/** A chain of others that drops what it does not know. */
export interface Drop {
  /** For example `ip filter FORWARD`. */
  readonly chain: string;
  readonly by: ForwardDrop["by"];
  readonly families: readonly Family[];
  /** FORWARD of iptables, of which kind; the chains of that kind alone are changed by programs of that kind. */
  readonly iptables?: "nft" | "legacy";
}

/** What iptables-save prints of one family and one kind. */
export interface SavedFamily {
  readonly family: Family;
  readonly kind: "nft" | "legacy";
  readonly text: string;
}

const FAMILIES: readonly Family[] = [4, 6];

export function gatherRuleSet(run: Run = runProgram): RuleSetFacts {
  const tables = read((socket) => listTables(socket), []);
  const chains = read((socket) => listChains(socket), []);
  const saved = chains.known ? savedFamilies(run, chains.value) : chains;
  const nftDrops = read(findForwardDrops, []);
  return {
    tables,
    chains,
    drops: dropsOf(allSeen({ nftDrops, saved })),
    iptables: saved,
    usualIptables: look(() => usualKind(run)),
    unrecorded: saved.known ? look(() => unrecordedIn(saved.value)) : saved,
  };
}

/** Looked up after the rules were read: an ADD writes its record before its rules. */
const unrecordedIn = (saved: readonly SavedFamily[]): readonly string[] => {
  const marks = saved.flatMap(({ text }) => [...text.matchAll(MARKS)].map(([mark]) => mark));
  return [...new Set(marks)].filter((mark) => peekRecord(mark) === undefined);
};
const MARKS = /\bheddle-[\w.-]+?-[0-9a-f]{12}-[0-9a-f]{16}\b/g;

/** What is read of the rule set; `none` on a kernel that has no nftables. */
const read = <T>(work: (socket: NetlinkSocket) => T, none: T): Seen<T> =>
  look(() => {
    using socket = openRuleSet();
    return socket === undefined ? none : work(socket);
  });

/** `iptables v1.8.9 (nf_tables)`; releases before 1.8 are of the older kind and do not say so. */
function usualKind(run: Run): "nft" | "legacy" | undefined {
  const told = run("iptables", ["--version"], "");
  if (told === undefined || told.code !== 0) return undefined;
  return told.stdout.includes("nf_tables") ? "nft" : "legacy";
}

/** The names by which iptables over nftables keeps its tables. */
const TABLES = ["filter", "nat", "mangle", "raw", "security"];
const nftFamilyOf = { 4: "ip", 6: "ip6" } as const;

/** The text of what is loaded, by the programs themselves; nothing is loaded by asking. */
function savedFamilies(run: Run, chains: readonly ChainInfo[]): Seen<readonly SavedFamily[]> {
  const out: SavedFamily[] = [];
  for (const family of FAMILIES) {
    const kinds = {
      nft: chains.some((c) => c.family === nftFamilyOf[family] && TABLES.includes(c.table)),
      legacy: legacyTables(family),
    };
    if (!isKnown(kinds.legacy)) return kinds.legacy;
    const loaded = [
      ...(kinds.nft ? (["nft"] as const) : []),
      ...(kinds.legacy.value ? (["legacy"] as const) : []),
    ];
    for (const kind of loaded) {
      const text = look(() => save(variant(run, kind), family));
      if (!text.known) return text;
      if (text.value === undefined)
        return unseen(`iptables (${kind}) has rules for IPv${family} and its programs are not installed`);
      out.push({ family, kind, text: text.value });
    }
  }
  return seen(out);
}

const isKnown = <T>(fact: Seen<T>): fact is Extract<Seen<T>, { known: true }> => fact.known;

/** The file is absent if the kernel has no legacy tables, and readable for root alone. */
function legacyTables(family: Family): Seen<boolean> {
  const file = `/proc/net/ip${family === 4 ? "" : "6"}_tables_names`;
  const text = look(() => unlessErrno(["ENOENT"], () => readText(file)) ?? "");
  if (!text.known) return text;
  return seen(text.value.trim() !== "" && (["filter", "nat"] as const).some((t) => legacyLoaded(family, t)));
}

function dropsOf(
  fact: Seen<{ readonly nftDrops: readonly ForwardDrop[]; readonly saved: readonly SavedFamily[] }>,
): Seen<readonly Drop[]> {
  if (!fact.known) return fact;
  const { nftDrops, saved } = fact.value;
  const familiesOf = (f: ForwardDrop["family"]): readonly Family[] =>
    f === "ip" ? [4] : f === "ip6" ? [6] : FAMILIES;
  const legacy = saved.flatMap(({ kind, family, text }): readonly Drop[] => {
    const by = kind === "legacy" ? forwardDropIn(text) : undefined;
    const chain = `iptables-legacy IPv${family} filter FORWARD`;
    return by === undefined ? [] : [{ chain, by, families: [family], iptables: "legacy" }];
  });
  const byNft = nftDrops.map((d): Drop => ({
    chain: `${d.family} ${d.table} ${d.chain}`,
    by: d.by,
    families: familiesOf(d.family),
    ...(d.family !== "inet" && d.table === "filter" && d.chain === "FORWARD" ? { iptables: "nft" } : {}),
  }));
  return seen([...byNft, ...legacy]);
}
