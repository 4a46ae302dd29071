import { NetError } from "../errors.ts";
import type { Family } from "../net/ip.ts";
import { furtherChain, PORT_MAP_PREFIX, shared } from "./iptables-names.ts";
import {
  type FamilyRules,
  guardRules,
  markRule,
  type OwnedChain,
  ownedChains,
  renamed,
  type SharedRule,
  sharedNat,
  wantedHostIp,
  wantsGuard,
  type Words,
} from "./iptables-rules.ts";
import { joinWords, type SavedRule, type SavedTable } from "./iptables-save.ts";
import type { Alive, FirewallState, IptablesOptions, LivingOwner, Mark, PortMapping } from "./model.ts";

/**
 * From what is wanted and what iptables-save shows to the text for iptables-restore. Pure, so that every decision
 * (who owns a chain, who holds a port, what is still missing) is tested without a kernel.
 */
export type Saved = ReadonlyMap<string, SavedTable>;

const EMPTY: SavedTable = new Map();
export const natOf = (saved: Saved): SavedTable => saved.get("nat") ?? EMPTY;

/** The owner of a chain, from its first rule that is nothing but a comment. */
export function markOf(rules: readonly SavedRule[]): Mark | undefined {
  const first = rules[0];
  return first !== undefined && first.words.length === 4 && first.words[2] === "--comment"
    ? first.words[3]
    : undefined;
}

/** Names of the chains whose owner satisfies `wanted`. */
export function chainsOf(table: SavedTable, wanted: (mark: Mark) => boolean): Set<string> {
  const names = new Set<string>();
  for (const [name, rules] of table) {
    const mark = markOf(rules);
    if (mark !== undefined && wanted(mark)) names.add(name);
  }
  return names;
}

/** Lines that remove chains and every jump to them, wherever it is and however often. */
export function removalLines(table: SavedTable, chains: ReadonlySet<string>): string[] {
  const lines: string[] = [];
  for (const [name, rules] of table) {
    if (chains.has(name)) continue;
    for (const rule of rules)
      if (rule.target !== undefined && chains.has(rule.target)) lines.push(`-D ${name} ${rule.text}`);
  }
  return [...lines, ...[...chains].map((c) => `-F ${c}`), ...[...chains].map((c) => `-X ${c}`)];
}

/** The text of one table for iptables-restore; empty if nothing is to be done. */
export const tableText = (table: string, lines: readonly string[]): string =>
  lines.length === 0 ? "" : [`*${table}`, ...lines, "COMMIT", ""].join("\n");

/** The text that removes chains of table `nat`; empty if there is nothing to remove. */
export const removalText = (saved: Saved, chains: ReadonlySet<string>): string =>
  tableText("nat", removalLines(natOf(saved), chains));

const append = (chain: string, words: Words): string => `-A ${chain} ${joinWords(words)}`;

const creationLines = (chain: OwnedChain, mark: Mark): string[] => [
  `-N ${chain.name}`,
  append(chain.name, markRule(mark)),
  ...chain.rules.map((words) => append(chain.name, words)),
  ...chain.jumps.map((jump) => append(jump.chain, jump.words)),
];

/**
 * The text for an attachment that has nothing yet: refused as a whole if one of its chains exists (`-N`). Undefined
 * for port mappings: whether a port is free has to be read.
 */
export function freshText(
  state: FirewallState,
  family: Family,
  rules: FamilyRules,
  mark: Mark,
): string | undefined {
  if (rules.mappings.length > 0) return undefined;
  return tableText(
    "nat",
    ownedChains(state, family, rules).flatMap((c) => creationLines(c, mark)),
  );
}

/** Names that this attachment's chains have if it is the second one of its container in the network. */
export const furtherNames = (
  state: FirewallState,
  family: Family,
  rules: FamilyRules,
  mark: Mark,
): string[] => ownedChains(state, family, rules).map((c) => furtherChain(c.name, mark));

/**
 * The text that removes exactly what `state` made under the usual names, refused as a whole if the chain has another
 * owner, or if anything differs or leads there that is not known.
 */
export const undoText = (state: FirewallState, family: Family, rules: FamilyRules, mark: Mark): string =>
  tableText(
    "nat",
    ownedChains(state, family, rules).flatMap((c) => [
      `-D ${c.name} ${joinWords(markRule(mark))}`,
      ...c.jumps.map((j) => `-D ${j.chain} ${joinWords(j.words)}`),
      `-F ${c.name}`,
      `-X ${c.name}`,
    ]),
  );

/** Whether two rules say the same: programs and versions differ in the order of the matches. */
export const sameWords = (a: Words, b: Words): boolean =>
  a.length === b.length && [...a].sort().join("\0") === [...b].sort().join("\0");

/** Whether `found` has all of `wanted`, and perhaps more. */
export function hasWords(found: Words, wanted: Words): boolean {
  const rest = [...found];
  return wanted.every((word) => {
    const at = rest.indexOf(word);
    if (at >= 0) rest.splice(at, 1);
    return at >= 0;
  });
}

export const isThere = (table: SavedTable, rule: SharedRule): boolean =>
  (table.get(rule.chain) ?? []).some((found) => sameWords(found.words, rule.words));

/** The lines that make what is missing of these. */
export function sharedLines(
  table: SavedTable,
  chains: readonly string[],
  rules: readonly SharedRule[],
): string[] {
  return [
    ...chains.filter((c) => !table.has(c)).map((c) => `-N ${c}`),
    ...rules
      .filter((r) => !isThere(table, r))
      .map((r) => `${r.first ? "-I" : "-A"} ${r.chain} ${joinWords(r.words)}`),
  ];
}

/**
 * The text that makes the state's rules of one family, whatever is there: what the mark has already is replaced, a
 * port of a dead owner is taken over. Throws `port/taken` for that of a live one.
 */
export function applyText(
  saved: Saved,
  state: FirewallState,
  family: Family,
  rules: FamilyRules,
  mark: Mark,
  alive: Alive,
): string {
  const nat = natOf(saved);
  const options = state.iptables ?? {};
  requireExternalChain(nat, options);
  const usual = ownedChains(state, family, rules);
  const gone = chainsOf(nat, (m) => m === mark);
  for (const { name } of usual) {
    // Without an owner it is the reference's, of the same container: it would be replaced there, too.
    const owner = markOf(nat.get(name) ?? []);
    if (nat.has(name) && (owner === undefined || alive(owner) === undefined)) gone.add(name);
  }
  for (const name of deadHolders(nat, rules.mappings, gone, claimantOf(state, alive))) gone.add(name);
  const chains = usual.map((c) =>
    nat.has(c.name) && !gone.has(c.name) ? renamed(c, furtherChain(c.name, mark)) : c,
  );
  const base = sharedNat(rules, options);
  return (
    guardText(saved, rules) +
    tableText("nat", [
      ...removalLines(nat, gone),
      ...sharedLines(nat, base.chains, base.rules),
      ...chains.flatMap((c) => creationLines(c, mark)),
    ])
  );
}

function guardText(saved: Saved, rules: FamilyRules): string {
  if (!wantsGuard(rules)) return "";
  return tableText("raw", sharedLines(saved.get("raw") ?? EMPTY, [shared.guard], guardRules));
}

function requireExternalChain(nat: SavedTable, { externalSetMarkChain: chain }: IptablesOptions): void {
  if (chain !== undefined && !nat.has(chain))
    throw new NetError("config/invalid", {
      field: "externalSetMarkChain",
      why: `there is no chain ${chain} in table nat`,
    });
}

interface Held {
  readonly protocol: string;
  readonly port: number;
  /** With its prefix length; undefined for every address. */
  readonly hostIp?: string;
}

/** The host port that a translating rule of a container's chain is for. */
function heldBy(rule: SavedRule): Held | undefined {
  if (rule.target !== "DNAT") return undefined;
  const after = (word: string): string | undefined => {
    const at = rule.words.indexOf(word);
    return at < 0 ? undefined : rule.words[at + 1];
  };
  const protocol = after("-p");
  const port = Number(after("--dport"));
  if (protocol === undefined || !(port > 0)) return undefined;
  const hostIp = after("-d");
  return { protocol, port, ...(hostIp ? { hostIp } : {}) };
}

function clash(held: Held, m: PortMapping): boolean {
  const hostIp = wantedHostIp(m)?.text;
  if (held.protocol !== m.protocol || held.port !== m.hostPort) return false;
  return hostIp === undefined || held.hostIp === undefined || held.hostIp.split("/")[0] === hostIp;
}

/** Throws `port/taken` if a live owner holds one of the ports. */
export const refuseHeld = (
  saved: Saved,
  state: FirewallState,
  mappings: readonly PortMapping[],
  mark: Mark,
  alive: Alive,
): void => {
  const nat = natOf(saved);
  deadHolders(
    nat,
    mappings,
    chainsOf(nat, (m) => m === mark),
    claimantOf(state, alive),
  );
};

/** The container that asks for ports. */
interface Claimant {
  readonly containerId: string;
  readonly alive: Alive;
}
const claimantOf = ({ containerId }: FirewallState, alive: Alive): Claimant => ({ containerId, alive });

/**
 * Chains that hold one of the ports for an owner who is dead. Throws `port/taken` if an owner lives, unless that is the
 * same container in another network: its chain comes first, and ours is behind it.
 */
function deadHolders(
  nat: SavedTable,
  mappings: readonly PortMapping[],
  gone: ReadonlySet<string>,
  { containerId, alive }: Claimant,
): string[] {
  const dead: string[] = [];
  for (const [name, rules] of nat) {
    if (!name.startsWith(PORT_MAP_PREFIX) || gone.has(name)) continue;
    const held = rules.map(heldBy).filter((h) => h !== undefined);
    const taken = mappings.find((m) => held.some((h) => clash(h, m)));
    if (taken === undefined) continue;
    const mark = markOf(rules);
    const owner = mark === undefined ? strangerOf(nat, name, containerId) : alive(mark);
    if (owner?.containerId === containerId) continue;
    if (owner !== undefined)
      throw new NetError("port/taken", {
        port: `${wantedHostIp(taken)?.text ?? "*"}:${taken.hostPort}/${taken.protocol}`,
        owner: owner.name,
      });
    // A stranger's chain that nothing leads to holds no port, and is not ours to remove.
    if (mark !== undefined) dead.push(name);
  }
  return dead;
}

/** Who made a chain without a mark, in the words of the rule that leads to it; undefined if none does. */
function strangerOf(nat: SavedTable, chain: string, containerId: string): LivingOwner | undefined {
  const entry = nat.get(shared.dnat)?.find((r) => r.target === chain);
  if (entry === undefined) return undefined;
  const comment = entry.words[entry.words.indexOf("--comment") + 1] ?? "";
  const name = `another program (chain ${chain}, ${comment.replace(/^dnat /, "")})`;
  // As the reference plugin ends its comment.
  return { name, containerId: comment.endsWith(` id: "${containerId}"`) ? containerId : "" };
}
