import { type Family, hostPrefix, type Ip } from "../net/ip.ts";
import { ADMIN_COMMENT, FORWARD_COMMENT, forward, ingressComment } from "./iptables-names.ts";
import { sameWords, sharedLines, tableText } from "./iptables-plan.ts";
import type { SharedRule, Words } from "./iptables-rules.ts";
import { joinWords, type SavedRule, type SavedTable } from "./iptables-save.ts";
import type { FirewallState, IngressPolicy, Mark } from "./model.ts";

/**
 * What is allowed and refused in the chain FORWARD of table `filter`, as the reference lays it out, and the text for
 * iptables-restore that makes it or takes it away. Pure. The reference's rules have no place for an owner: a chain that
 * no packet enters notes, for each attachment, which of them are its own.
 */
export interface ForwardRules {
  readonly accepted: readonly Ip[];
  /** Addresses that host ports lead to. */
  readonly mapped: readonly Ip[];
  readonly policies: readonly IngressPolicy[];
}

/** The state's rules of that family in table `filter`; undefined if it has none. */
export function forwardRulesOf(state: FirewallState, family: Family): ForwardRules | undefined {
  const accepted: Ip[] = [];
  const mapped: Ip[] = [];
  const policies: IngressPolicy[] = [];
  for (const rule of state.rules) {
    if (rule.kind === "accept-forward" && rule.address.family === family) accepted.push(rule.address);
    if (rule.kind === "accept-mapped" && rule.address.family === family) mapped.push(rule.address);
    if (rule.kind === "ingress-policy" && rule.address.family === family) policies.push(rule);
  }
  const count = accepted.length + mapped.length + policies.length;
  return count > 0 ? { accepted, mapped, policies } : undefined;
}

const comment = (text: string): Words => ["-m", "comment", "--comment", text];
/** Without its comment: releases of the reference word the same rule differently. */
function uncommented(words: Words): Words {
  const at = words.indexOf("--comment");
  return at < 2 ? words : [...words.slice(0, at - 2), ...words.slice(at + 2)];
}
const doesSame = (a: Words, b: Words): boolean => sameWords(uncommented(a), uncommented(b));
const isMade = (table: SavedTable, { chain, words }: SharedRule): boolean =>
  (table.get(chain) ?? []).some((found) => doesSame(found.words, words));

const host = (address: Ip): string => hostPrefix(address).text;

/** The two rules that let a container's packets through: answers to it, and all that it sends. */
const acceptRules = (source: string): readonly Words[] => [
  ["-d", source, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
  ["-s", source, "-j", "ACCEPT"],
];

/** The rule that lets through what came to a port of the host and was translated. */
const mappedRule = (target: string): Words => [
  "-d",
  target,
  "-m",
  "conntrack",
  "--ctstate",
  "DNAT",
  "-j",
  "ACCEPT",
];
const acceptances = ({ accepted, mapped }: ForwardRules): readonly Words[] => [
  ...accepted.flatMap((address) => acceptRules(host(address))),
  ...mapped.map((address) => mappedRule(host(address))),
];

/** The rules of one bridge and one policy: those of stage 1, and that of stage 2, which both policies share. */
interface BridgeRules {
  readonly stage1: readonly Words[];
  readonly stage2: Words;
}
function bridgeRules(bridge: string, isolated: boolean): BridgeRules {
  const own = comment(ingressComment(isolated ? "isolated" : "same-bridge"));
  const inside: Words = ["-i", bridge, "-o", bridge, ...own, "-j", "DROP"];
  const out: Words = ["-i", bridge, "!", "-o", bridge, ...own, "-j", forward.stage2];
  return {
    stage1: isolated ? [inside, out] : [out],
    stage2: ["-o", bridge, ...comment(ingressComment("same-bridge|isolated")), "-j", "DROP"],
  };
}

/** What a rule of the chain of notes says. `bridge` absent: the address is accepted, or what host ports lead there. */
interface Note {
  readonly mark: Mark;
  readonly source: string;
  readonly mapped?: true;
  readonly bridge?: string;
  readonly isolated?: boolean;
}
const noteWords = ({ mark, source, mapped, bridge, isolated }: Note): Words => [
  mapped ? "-d" : "-s",
  source,
  ...(bridge === undefined ? [] : ["-i", bridge, ...(isolated ? [] : ["!"]), "-o", bridge]),
  ...comment(mark),
];

function noteOf({ words }: SavedRule): Note | undefined {
  const after = (word: string): string | undefined => {
    const at = words.indexOf(word);
    return at < 0 ? undefined : words[at + 1];
  };
  const mark = after("--comment");
  const source = after("-s");
  const target = after("-d");
  const bridge = after("-i");
  if (mark !== undefined && target !== undefined) return { mark, source: target, mapped: true };
  if (mark === undefined || source === undefined) return undefined;
  return bridge === undefined ? { mark, source } : { mark, source, bridge, isolated: !words.includes("!") };
}

const notesIn = (table: SavedTable): readonly { readonly rule: SavedRule; readonly note: Note }[] =>
  (table.get(forward.owners) ?? []).flatMap((rule) => {
    const note = noteOf(rule);
    return note === undefined ? [] : [{ rule, note }];
  });

const acceptancesOf = ({ source, mapped }: Note): readonly Words[] =>
  mapped ? [mappedRule(source)] : acceptRules(source);

/** The rules that are there for what the mark has noted; those of a bridge may be others' as well. */
export function forwardOf(table: SavedTable, mark: Mark): readonly SavedRule[] {
  const wanted = notesIn(table).flatMap(({ note }): SharedRule[] => {
    if (note.mark !== mark) return [];
    if (note.bridge === undefined)
      return acceptancesOf(note).map((words) => ({ chain: forward.accept, words }));
    const { stage1, stage2 } = bridgeRules(note.bridge, note.isolated ?? false);
    return [
      ...stage1.map((words) => ({ chain: forward.stage1, words })),
      { chain: forward.stage2, words: stage2 },
    ];
  });
  return wanted.flatMap(({ chain, words }) =>
    (table.get(chain) ?? []).filter((r) => doesSame(r.words, words)).slice(0, 1),
  );
}

const notesFor = ({ accepted, mapped, policies }: ForwardRules, mark: Mark): readonly Note[] => [
  ...accepted.map((address) => ({ mark, source: host(address) })),
  ...mapped.map((address) => ({ mark, source: host(address), mapped: true as const })),
  ...policies.map(({ address, bridge, isolated }) => ({ mark, source: host(address), bridge, isolated })),
];

/** Chains and rules that all attachments share. They stay: the operator's chain may have rules. */
function sharedFilter(
  { accepted, mapped, policies }: ForwardRules,
  admin: string,
): { readonly chains: readonly string[]; readonly rules: readonly SharedRule[] } {
  const always = comment(ingressComment("same-bridge|isolated"));
  const accepting: readonly SharedRule[] = [
    { chain: "FORWARD", words: [...comment(FORWARD_COMMENT), "-j", forward.accept], first: true },
    { chain: forward.accept, words: [...comment(ADMIN_COMMENT), "-j", admin], first: true },
  ];
  // In front of what accepts: made after it.
  const refusing: readonly SharedRule[] = [
    { chain: "FORWARD", words: [...always, "-j", forward.stage1], first: true },
    { chain: forward.stage1, words: [...always, "-j", "RETURN"] },
    { chain: forward.stage2, words: [...always, "-j", "RETURN"] },
  ];
  const accepts = accepted.length + mapped.length > 0;
  return {
    chains: [
      forward.owners,
      ...(accepts ? [forward.accept, admin] : []),
      ...(policies.length > 0 ? [forward.stage1, forward.stage2] : []),
    ],
    rules: [...(accepts ? accepting : []), ...(policies.length > 0 ? refusing : [])],
  };
}

const adminOf = (state: FirewallState): string => state.iptables?.adminChain ?? forward.admin;

/** One line for each bridge and policy that has none of ours yet. Returns what is then there beside `known`. */
function policyLines(rules: ForwardRules, known: readonly Note[]): string[] {
  const has = new Set(
    known.flatMap((n) => (n.bridge === undefined ? [] : [bridgeKey(n.bridge, n.isolated)])),
  );
  const bridges = new Set(known.map((n) => n.bridge));
  const lines: string[] = [];
  for (const { bridge, isolated } of rules.policies) {
    if (has.has(bridgeKey(bridge, isolated))) continue;
    const { stage1, stage2 } = bridgeRules(bridge, isolated);
    lines.push(...stage1.map((words) => `-I ${forward.stage1} ${joinWords(words)}`));
    if (!bridges.has(bridge)) lines.push(`-I ${forward.stage2} ${joinWords(stage2)}`);
    has.add(bridgeKey(bridge, isolated));
    bridges.add(bridge);
  }
  return lines;
}
const bridgeKey = (bridge: string, isolated: boolean | undefined): string => `${bridge} ${isolated ?? false}`;

/** Makes the state's rules, whatever is there: what the mark has already is replaced. */
export function applyForwardText(
  saved: SavedTable,
  state: FirewallState,
  rules: ForwardRules,
  mark: Mark,
): string {
  const own = (m: Mark): boolean => m === mark;
  const others = notesIn(saved).flatMap(({ note }) => (own(note.mark) ? [] : [note]));
  const base = sharedFilter(rules, adminOf(state));
  return tableText("filter", [
    ...forwardRemovalLines(saved, own),
    ...sharedLines(
      saved,
      base.chains,
      base.rules.filter((rule) => !isMade(saved, rule)),
    ),
    ...policyLines(rules, others),
    ...acceptances(rules).map((words) => `-A ${forward.accept} ${joinWords(words)}`),
    ...notesFor(rules, mark).map((note) => `-A ${forward.owners} ${joinWords(noteWords(note))}`),
  ]);
}

/**
 * Removes exactly what `applyForwardText` made, refused as a whole if anything is missing. Undefined if there is a
 * policy: whether another attachment of the bridge needs its rules has to be read.
 */
export function undoForwardText(rules: ForwardRules, mark: Mark): string | undefined {
  if (rules.policies.length > 0) return undefined;
  return tableText("filter", [
    ...acceptances(rules).map((words) => `-D ${forward.accept} ${joinWords(words)}`),
    ...notesFor(rules, mark).map((note) => `-D ${forward.owners} ${joinWords(noteWords(note))}`),
  ]);
}

/** The text that removes what attachments with such marks have; empty if there is nothing. */
export const forwardRemovalText = (saved: SavedTable, wanted: (mark: Mark) => boolean): string =>
  tableText("filter", forwardRemovalLines(saved, wanted));

function forwardRemovalLines(saved: SavedTable, wanted: (mark: Mark) => boolean): string[] {
  const notes = notesIn(saved);
  const gone = notes.filter(({ note }) => wanted(note.mark));
  const stay = notes.filter(({ note }) => !wanted(note.mark)).map(({ note }) => note);
  return [
    ...gone.map(({ rule }) => `-D ${forward.owners} ${rule.text}`),
    ...takeOut(
      saved.get(forward.accept) ?? [],
      gone.flatMap(({ note }) => (note.bridge === undefined ? acceptancesOf(note) : [])),
    ),
    ...policyRemovalLines(
      saved,
      gone.map(({ note }) => note),
      stay,
    ),
  ];
}

/** Lines that delete one rule for each of the wanted ones that is there, with these words or at least with this effect. */
function takeOut(rules: readonly SavedRule[], wanted: readonly Words[]): string[] {
  const left = [...rules];
  return wanted.flatMap((words) => {
    const exact = left.findIndex((r) => sameWords(r.words, words));
    const at = exact < 0 ? left.findIndex((r) => doesSame(r.words, words)) : exact;
    const [found] = at < 0 ? [] : left.splice(at, 1);
    return found === undefined ? [] : [`-D ${found.chain} ${found.text}`];
  });
}

/** The rules of a bridge go with the last attachment that asked for them. */
function policyRemovalLines(saved: SavedTable, gone: readonly Note[], stay: readonly Note[]): string[] {
  const policies = new Map<string, { bridge: string; isolated: boolean }>();
  for (const { bridge, isolated = false } of gone)
    if (bridge !== undefined) policies.set(bridgeKey(bridge, isolated), { bridge, isolated });
  const lines: string[] = [];
  for (const { bridge, isolated } of policies.values()) {
    if (stay.some((n) => n.bridge === bridge && (n.isolated ?? false) === isolated)) continue;
    lines.push(...takeOut(saved.get(forward.stage1) ?? [], bridgeRules(bridge, isolated).stage1));
  }
  for (const bridge of new Set([...policies.values()].map((p) => p.bridge)))
    if (!stay.some((n) => n.bridge === bridge))
      lines.push(...takeOut(saved.get(forward.stage2) ?? [], [bridgeRules(bridge, false).stage2]));
  return lines;
}

/**
 * Removes rules that the reference made for these addresses, and for a bridge if one is named: rules without a note.
 * An address or a bridge that an attachment of ours has keeps as many rules as it has notes.
 */
export function referenceForwardText(
  saved: SavedTable,
  addresses: readonly Ip[],
  bridge: string | undefined,
): string {
  const notes = notesIn(saved).map(({ note }) => note);
  const spare = (chain: string, words: Words, noted: number): Words[] => {
    const copies = (saved.get(chain) ?? []).filter((r) => doesSame(r.words, words)).length;
    return Array.from({ length: Math.max(0, copies - noted) }, () => words);
  };
  const accepts = addresses.flatMap((address) => {
    const own = notes.filter((n) => n.bridge === undefined && !n.mapped && n.source === host(address)).length;
    return acceptRules(host(address)).flatMap((words) => spare(forward.accept, words, own));
  });
  // What leaves the bridge is the same rule for both policies.
  const [inside, out] = bridge === undefined ? [] : bridgeRules(bridge, true).stage1;
  const noted = (isolated: boolean): number =>
    notes.some((n) => n.bridge === bridge && n.isolated === isolated) ? 1 : 0;
  const stages =
    inside && out
      ? [
          ...spare(forward.stage1, inside, noted(true)),
          ...spare(forward.stage1, out, noted(true) + noted(false)),
        ]
      : [];
  const stage2 =
    bridge === undefined
      ? []
      : spare(
          forward.stage2,
          bridgeRules(bridge, false).stage2,
          notes.some((n) => n.bridge === bridge) ? 1 : 0,
        );
  return tableText("filter", [
    ...takeOut(saved.get(forward.accept) ?? [], accepts),
    ...takeOut(saved.get(forward.stage1) ?? [], stages),
    ...takeOut(saved.get(forward.stage2) ?? [], stage2),
  ]);
}

/**
 * The first rule that is not there, and where it belongs; undefined if all are. Notes are not looked at: no packet
 * meets them, and what the reference made has none.
 */
export function missingForward(
  saved: SavedTable,
  state: FirewallState,
  rules: ForwardRules,
): SharedRule | undefined {
  const wanted: SharedRule[] = [
    ...sharedFilter(rules, adminOf(state)).rules,
    ...acceptances(rules).map((words) => ({ chain: forward.accept, words })),
    ...rules.policies.flatMap(({ bridge, isolated }) => {
      const { stage1, stage2 } = bridgeRules(bridge, isolated);
      return [
        ...stage1.map((words) => ({ chain: forward.stage1, words })),
        { chain: forward.stage2, words: stage2 },
      ];
    }),
  ];
  return wanted.find((rule) => !isMade(saved, rule));
}
