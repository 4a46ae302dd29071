import type { Words } from "../../firewall/iptables-rules.ts";
import { joinWords, type SavedRule, type SavedTable } from "../../firewall/iptables-save.ts";
import { sameWords, tableText } from "../../firewall/iptables-plan.ts";
import { type Group, inetTable } from "../../firewall/nftables-parts.ts";
import { type Family, type IpPrefix, ipFromBytes, parsePrefix, prefix } from "../../net/ip.ts";
import type { Statement } from "../../nft/statement.ts";
import { shortName } from "../../fabric/short-name.ts";
import type { HostSubnet } from "./subnet-env.ts";

/**
 * What a Flannel network wants of the host's firewall, as data: what leaves the network is masqueraded, once and not where
 * kube-proxy has decided, and what is forwarded for it is accepted where somebody drops. In iptables word for word as
 * flanneld has it, so that either takes over the other's rules; in nftables a chain in Heddle's own table. Pure.
 */
export interface FirewallWish {
  readonly v4?: HostSubnet;
  readonly v6?: HostSubnet;
  /** Absent: nothing is masqueraded. */
  readonly masquerade?: { readonly fullyRandom: boolean };
  readonly acceptForwarded: boolean;
  /** The name of a fabric beside the host's first one, whose chains are its own; absent: the chains are flanneld's. */
  readonly fabric?: string;
}

/** kube-proxy's: it masquerades what has it, and twice would be once too often. */
const KUBE_PROXY_MARK = 0x4000;

// From bytes: they are needed whenever this is loaded.
const MULTICAST = {
  4: prefix(ipFromBytes(Uint8Array.of(224, 0, 0, 0)), 4),
  6: prefix(ipFromBytes(Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), 8),
} as const;

/** One rule of the masquerade: where from, where to, and what is done. */
interface Case {
  readonly from?: { readonly in: IpPrefix; readonly not?: true };
  readonly to?: { readonly in: IpPrefix; readonly not?: true };
  readonly marked?: true;
  readonly does: "return" | "masquerade";
}

/** In their order, which decides. */
function casesOf({ network, subnet }: HostSubnet): readonly Case[] {
  const outside = { in: network, not: true } as const;
  return [
    { marked: true, does: "return" },
    // Inside of the network everybody sees the true sender.
    { from: { in: subnet }, to: { in: network }, does: "return" },
    { from: { in: network }, to: { in: subnet }, does: "return" },
    // What was routed here from outside keeps its sender, too.
    { from: outside, to: { in: subnet }, does: "return" },
    { from: { in: network }, to: { in: MULTICAST[network.ip.family], not: true }, does: "masquerade" },
    // The answer of a container on another host has to come back to this one.
    { from: outside, to: { in: network }, does: "masquerade" },
  ];
}

/** One chain of iptables, the rules in it, and the rule that leads to it. */
export interface ChainWish {
  readonly table: "nat" | "filter";
  readonly chain: string;
  readonly from: string;
  readonly jump: Words;
  /** Undefined: the chain is to be gone. */
  readonly rules: readonly Words[] | undefined;
  /** It goes only if it is of one of these networks, or of none. */
  readonly of?: readonly string[];
}

/** flanneld's, whatever its network is; and those of a fabric beside that one, with at most 28 bytes. */
const CHAINS = { masquerade: "FLANNEL-POSTRTG", forward: "FLANNEL-FWD" } as const;
const furtherChain = (chain: string, fabric: string): string => `${chain}-${shortName(fabric)}`;
const comment = (text: string): Words => ["-m", "comment", "--comment", text];
const MASQ = comment("flanneld masq");
const FORWARD = comment("flanneld forward");

function matchWords(flag: "-s" | "-d", match: Case["from"]): Words {
  if (match === undefined) return [];
  return [...(match.not ? ["!"] : []), flag, match.in.text];
}

function caseWords({ from, to, marked, does }: Case, fullyRandom: boolean): Words {
  const mark = `0x${KUBE_PROXY_MARK.toString(16)}`;
  return [
    ...matchWords("-s", from),
    ...matchWords("-d", to),
    ...(marked ? ["-m", "mark", "--mark", `${mark}/${mark}`] : []),
    ...MASQ,
    "-j",
    ...(does === "return" ? ["RETURN"] : ["MASQUERADE", ...(fullyRandom ? ["--random-fully"] : [])]),
  ];
}

/**
 * What is wanted of one family's iptables; without a part of that family nothing is to be left. `former`: the networks that
 * this host is or was in: flanneld's chains of another one stay, since it may run here, too.
 */
export function chainsOf(
  wish: FirewallWish,
  family: Family,
  former: readonly IpPrefix[] = [],
): readonly ChainWish[] {
  const part = family === 4 ? wish.v4 : wish.v6;
  const { masquerade, acceptForwarded, fabric } = wish;
  const of = former.map(({ text }) => text);
  const wanted = [
    {
      table: "nat",
      chain: CHAINS.masquerade,
      from: "POSTROUTING",
      words: MASQ,
      rules: part && masquerade && casesOf(part).map((c) => caseWords(c, masquerade.fullyRandom)),
    },
    {
      table: "filter",
      chain: CHAINS.forward,
      from: "FORWARD",
      words: FORWARD,
      rules:
        part && acceptForwarded
          ? ["-s", "-d"].map((flag) => [flag, part.network.text, ...FORWARD, "-j", "ACCEPT"])
          : undefined,
    },
  ] as const;
  return wanted.flatMap(({ words, ...one }): readonly ChainWish[] => {
    const led = (chain: string) => ({ ...one, chain, jump: [...words, "-j", chain] });
    const flannelds = { ...led(one.chain), of };
    if (fabric === undefined) return [flannelds];
    return [led(furtherChain(one.chain, fabric)), { ...flannelds, rules: undefined }];
  });
}

/** True if the texts name networks, and none of these: what they are part of is another network's. */
export function isOfOthers(texts: readonly string[], networks: readonly string[]): boolean {
  const named = texts.filter(
    (text) => text.includes("/") && !Object.values(MULTICAST).some((m) => m.text === text),
  );
  const whole = named.filter((text) => parsePrefix(text).ok);
  return whole.length > 0 && !whole.some((text) => networks.includes(text));
}

/**
 * The text for iptables-restore that makes the tables as they are wanted; empty if they are. Rules of a chain are compared in
 * their order, and one that is wrong has the whole chain made anew, in one transaction.
 */
export function mendText(saved: ReadonlyMap<string, SavedTable>, wanted: readonly ChainWish[]): string {
  return (["nat", "filter"] as const)
    .map((table) => {
      const found = saved.get(table) ?? new Map<string, readonly SavedRule[]>();
      return tableText(
        table,
        wanted.filter((w) => w.table === table).flatMap((w) => mendLines(found, w)),
      );
    })
    .join("");
}

function mendLines(found: SavedTable, { chain, from, jump, rules, of }: ChainWish): readonly string[] {
  const leading = [...found].flatMap(([name, inside]) =>
    inside.filter((r) => r.target === chain).map((r) => ({ name, rule: r })),
  );
  const removals = leading.map(({ name, rule }) => `-D ${name} ${rule.text}`);
  const there = found.get(chain);
  const words = there?.flatMap((r) => r.words) ?? [];
  if (rules === undefined && of !== undefined && isOfOthers(words, of)) return [];
  if (rules === undefined)
    return there === undefined ? removals : [...removals, `-F ${chain}`, `-X ${chain}`];
  const [first] = leading;
  const isLed = leading.length === 1 && first?.name === from && sameWords(first.rule.words, jump);
  const isRight = there?.length === rules.length && there.every((r, i) => sameWords(r.words, rules[i] ?? []));
  return [
    ...(isRight ? [] : [there === undefined ? `-N ${chain}` : `-F ${chain}`]),
    ...(isRight ? [] : rules.map((words) => `-A ${chain} ${joinWords(words)}`)),
    ...(isLed ? [] : [...removals, `-A ${from} ${joinWords(jump)}`]),
  ];
}

/** Behind the chains for containers (docs/limits.md): what those have translated is not looked at here. */
const PRIORITY = 106;
const CHAIN_PREFIX = "flannel_";

/** nft reads no colon in a name: `flannel_fd00-10--/56`. */
export const nftChainName = (network: IpPrefix): string =>
  `${CHAIN_PREFIX}${network.text.replaceAll(":", "-")}`;

/** What is wanted of nftables, one group a family. */
export function groupsOf(wish: FirewallWish): readonly Group[] {
  const { masquerade } = wish;
  if (masquerade === undefined) return [];
  return [wish.v4, wish.v6].flatMap((part): Group[] => {
    if (part === undefined) return [];
    const name = nftChainName(part.network);
    const rules = casesOf(part).map((c) => caseStatements(c, masquerade.fullyRandom));
    const base = { type: "nat", hook: "postrouting", priority: PRIORITY, policy: "accept" } as const;
    return [
      {
        name: "fabric",
        table: inetTable,
        sets: [],
        chains: [{ name, base, rules }],
        witness: { chain: name, uses: rules.length },
      },
    ];
  });
}

function caseStatements({ from, to, marked, does }: Case, fullyRandom: boolean): readonly Statement[] {
  const test = (side: "saddr" | "daddr", match: Case["from"]): readonly Statement[] =>
    match === undefined
      ? []
      : [
          {
            prefix: `${match.in.ip.family === 4 ? "ip" : "ip6"} ${side}`,
            op: match.not ? "!=" : "==",
            in: match.in,
          },
        ];
  return [
    ...(marked ? [{ mark: KUBE_PROXY_MARK, mask: KUBE_PROXY_MARK }] : []),
    ...test("saddr", from),
    ...test("daddr", to),
    does === "return"
      ? { verdict: "return" }
      : { do: "masquerade", ...(fullyRandom ? { random: "fully" as const } : {}) },
  ];
}
