/**
 * What becomes of a packet at one hook of the kernel: connection tracking, translation, and every chain that is registered
 * there, in their order. What drops it, or perhaps drops it, is an obstacle; the packet is followed behind it as far as it is
 * known what it would be.
 */
import { type Family } from "../../net/ip.ts";
import type { Hook } from "../../nft/model.ts";
import { type Bits, host32, isKnown } from "../../nft/eval/bits.ts";
import { runBase, summary } from "../../nft/eval/evaluate.ts";
import { destinationOf, type Packet, portsOf, sourceOf } from "../../nft/eval/packet.ts";
import type { BaseChain, HookName, RuleSet } from "../../nft/eval/rule-set.ts";
import type { Environment, FibQuestion, Interface, State, Translation, Where } from "../../nft/eval/state.ts";
import { printRule } from "../../nft/print.ts";
import { listLegacyChains } from "../../sys/legacy-tables.ts";
import type { StepKind } from "./answer.ts";
import { type Connection, enter, track, type Tracking, trackedOf, translate } from "./connection.ts";
import { isNetError } from "../../errors.ts";
import type { Space } from "./realm.ts";

/** A packet with what the kernel keeps beside it. */
export interface Skb {
  readonly packet: Packet;
  readonly mark: Bits;
  readonly tracking?: Tracking;
  readonly untracked?: true;
}

/** What drops the packet, or, if that is not `sure`, perhaps drops it. */
export interface Obstacle {
  readonly sure: boolean;
  readonly text: string;
  readonly where: string;
}

export interface Note {
  readonly kind: StepKind;
  readonly text: string;
}

/** What was met, and the packet behind it; absent where nobody knows what it is then. */
export interface Passage {
  readonly skb?: Skb;
  readonly notes: readonly Note[];
  readonly obstacles: readonly Obstacle[];
}

export interface HookCall {
  readonly hook: Hook;
  readonly family: Family;
  readonly iif?: Interface;
  readonly oif?: Interface;
  /** Where the translation of the source to an interface, or of the destination to this host, leads. */
  readonly ownAddress: (kind: "masquerade" | "redirect") => Bits | undefined;
  readonly fib: (question: FibQuestion, packet: Packet, mark: Bits) => Bits | undefined;
  readonly packetType?: number;
}

/** Connections that the namespaces would track, by namespace. */
export type Connections = Map<string, Connection[]>;

/** NF_IP_PRI_* (linux/netfilter_ipv4.h). */
const priority = {
  raw: -300,
  tracking: -200,
  mangle: -150,
  destination: -100,
  filter: 0,
  security: 50,
  source: 100,
};
const legacyPriority: Readonly<Record<string, number>> = {
  raw: priority.raw,
  mangle: priority.mangle,
  filter: priority.filter,
  security: priority.security,
};
const NFPROTO = { 4: 2, 6: 10 } as const;
const FAMILY = { 4: "ip", 6: "ip6" } as const;

interface Stage {
  readonly priority: number;
  /** Absent: not a chain of nftables. */
  readonly base?: BaseChain;
  pass(skb: Skb): Passage;
}

export function passHook(space: Space, call: HookCall, connections: Connections, entry: Skb): Passage {
  const rules = space.rules();
  const notes: Note[] = [];
  const obstacles: Obstacle[] = [];
  let skb = entry;
  const stages = stagesOf(space, call, connections, rules);
  for (const stage of stages) {
    const passed = stage.pass(skb);
    notes.push(...passed.notes.map((n) => ({ ...n, text: `${call.hook}: ${n.text}` })));
    obstacles.push(...passed.obstacles);
    if (passed.skb === undefined) return { notes, obstacles };
    const equal = rules && stage.base && isOther(skb, passed.skb) && equalOf(stage.base, stages, rules);
    if (stage.base && equal) obstacles.push(unordered(space, stage.base, equal));
    const changed = changesOf(skb.packet, passed.skb.packet);
    if (changed) notes.push({ kind: "translation", text: `${call.hook}: ${changed}` });
    skb = passed.skb;
  }
  return { skb, notes, obstacles };
}

/** Whether chains behind see another packet. */
const isOther = (a: Skb, b: Skb): boolean =>
  a.packet !== b.packet || a.mark !== b.mark || a.untracked !== b.untracked;

/** Another chain at this hook with the same priority, if it says anything. */
const equalOf = (base: BaseChain, stages: readonly Stage[], rules: RuleSet): BaseChain | undefined =>
  stages.find(
    ({ base: b }) => b && b !== base && b.priority === base.priority && rules.chain(b, b.chain).length > 0,
  )?.base;

/** The kernel asks such chains in the order in which they were made, which it does not list. */
const unordered = ({ name }: Space, a: BaseChain, b: BaseChain): Obstacle => ({
  sure: false,
  text: `${nameOf(a)} and ${nameOf(b)} have the same priority: which of them comes first is not known`,
  where: name,
});
const nameOf = ({ family, table, chain: name }: BaseChain): string => `${family} ${table} ${name}`;

/** `destination 192.0.2.1:8080 is now 10.88.0.2:80`. */
function changesOf(a: Packet, b: Packet): string | undefined {
  if (a === b) return undefined;
  const before = endsOf(a);
  const words = endsOf(b).flatMap(([which, text], i) =>
    text === before[i]?.[1] ? [] : [`${which} ${before[i]?.[1] ?? ""} is now ${text}`],
  );
  return words.length === 0 ? undefined : words.join(", ");
}

function endsOf(p: Packet): readonly (readonly [which: string, text: string])[] {
  const ports = portsOf(p);
  const port = (bits: Bits | undefined): string =>
    bits && isKnown(bits) ? ` port ${(bits.bytes[0] ?? 0) * 256 + (bits.bytes[1] ?? 0)}` : "";
  return [
    ["source", `${sourceOf(p)?.text ?? "?"}${port(ports?.source)}`],
    ["destination", `${destinationOf(p)?.text ?? "?"}${port(ports?.destination)}`],
  ];
}

function stagesOf(
  space: Space,
  call: HookCall,
  connections: Connections,
  rules: RuleSet | undefined,
): readonly Stage[] {
  const { hook, family } = call;
  const comesIn = hook === "prerouting" || hook === "output";
  const stages: Stage[] = [];
  const here = basesAt(rules, hook, [FAMILY[family], "inet"]);
  if (comesIn) stages.push({ priority: priority.tracking, pass: (skb) => tracking(space, connections, skb) });
  if (hook !== "forward") {
    const which = comesIn ? "destination" : "source";
    stages.push({
      priority: comesIn ? priority.destination : priority.source,
      pass: (skb) =>
        translation({ space, call, rules, bases: here.filter((b) => b.type === "nat"), which }, skb),
    });
  }
  for (const base of here)
    if (base.type !== "nat" && rules)
      stages.push({ priority: base.priority, base, pass: (skb) => chain({ space, call, rules }, base, skb) });
  stages.push(...legacyStages(space, call));
  return stages.toSorted((a, b) => a.priority - b.priority);
}

export const basesAt = (
  rules: RuleSet | undefined,
  hook: HookName,
  families: readonly string[],
): readonly BaseChain[] =>
  (rules?.bases ?? [])
    .filter((b) => b.hook === hook && families.includes(b.family))
    .toSorted((a, b) => a.priority - b.priority);

function tracking(space: Space, connections: Connections, skb: Skb): Passage {
  const nothing = { skb, notes: [], obstacles: [] };
  if (skb.untracked || skb.tracking) return nothing;
  const here = connections.get(space.id) ?? [];
  connections.set(space.id, here);
  const before = here.length;
  const found = track(here, skb.packet);
  const isFull = here.length > before && tableIsFull(space);
  const obstacles: readonly Obstacle[] = isFull
    ? [{ sure: false, text: "the table of connections is full", where: space.name }]
    : [];
  return { skb: { ...skb, tracking: found }, notes: [], obstacles };
}

function tableIsFull(space: Space): boolean {
  const [count, max] = ["count", "max"].map((k) =>
    Number(space.sysctl(`net/netfilter/nf_conntrack_${k}`) ?? "NaN"),
  );
  return count !== undefined && max !== undefined && max > 0 && count >= max;
}

interface At {
  readonly space: Space;
  readonly call: HookCall;
  readonly rules: RuleSet;
}

const stateOf = ({ packet, mark, tracking: t, untracked }: Skb): State => ({
  packet,
  mark,
  ctMark: t?.connection.mark ?? host32(0),
  untracked: untracked === true,
  doubts: [],
});

const environmentOf = (call: HookCall, skb: Skb): Environment => ({
  hook: call.hook,
  nfproto: NFPROTO[call.family],
  ...(call.iif ? { iif: call.iif } : {}),
  ...(call.oif ? { oif: call.oif } : {}),
  ...(call.packetType === undefined ? {} : { packetType: call.packetType }),
  ...(skb.tracking ? { ct: trackedOf(skb.tracking) } : {}),
  fib: (question, packet) => call.fib(question, packet, skb.mark),
});

function chain({ space, call, rules }: At, base: BaseChain, skb: Skb): Passage {
  const result = summary(runBase(rules, base, stateOf(skb), environmentOf(call, skb)));
  return applySummary(space, result, skb);
}

/** What a chain's verdict does to the packet. */
export function applySummary(space: Space, result: ReturnType<typeof summary>, skb: Skb): Passage {
  if (result.kind === "drop") {
    const text = `${describeWhere(result.by)}${result.rejected ? " (the sender is told)" : ""}`;
    return { skb, notes: [], obstacles: [{ sure: true, text, where: space.name }] };
  }
  if (result.kind === "unsure") {
    const obstacles = [{ sure: false, text: describeWhere(result.because), where: space.name }];
    return result.state === undefined
      ? { notes: [], obstacles }
      : { skb: behind(skb, result.state), notes: [], obstacles };
  }
  const { state, by } = result;
  const notes: readonly Note[] = by.rule
    ? [{ kind: "filter", text: `accepted by ${describeWhere(by)}` }]
    : [];
  if (state.untracked === undefined)
    return { notes, obstacles: [{ sure: false, text: describeWhere(state.blur ?? by), where: space.name }] };
  return { skb: behind(skb, state), notes, obstacles: [] };
}

function behind(skb: Skb, state: State): Skb {
  if (skb.tracking) skb.tracking.connection.mark = state.ctMark;
  return {
    ...skb,
    packet: state.packet,
    mark: state.mark,
    ...(state.untracked ? { untracked: true } : {}),
  };
}

interface Translating {
  readonly space: Space;
  readonly call: HookCall;
  readonly rules: RuleSet | undefined;
  readonly bases: readonly BaseChain[];
  readonly which: "destination" | "source";
}

/** The chains for translation are asked with the first packet alone; what they said holds for the others. */
function translation(at: Translating, skb: Skb): Passage {
  const { space, call, rules, bases, which } = at;
  const { tracking: t } = skb;
  if (t === undefined) return { skb, notes: [], obstacles: [] };
  const { connection: c, direction } = t;
  const notes: Note[] = [];
  const obstacles: Obstacle[] = [];
  if (direction === "original" && !c.asked[which]) {
    const ask = (rules: RuleSet, base: BaseChain): ReturnType<typeof summary> =>
      summary(runBase(rules, base, stateOf(skb), environmentOf(call, skb)));
    for (const [i, base] of rules ? bases.entries() : []) {
      const result = ask(rules as RuleSet, base);
      const equal = decides(result)
        ? bases.slice(i + 1).find((b) => b.priority === base.priority && decides(ask(rules as RuleSet, b)))
        : undefined;
      if (equal) return { notes, obstacles: [unordered(space, base, equal)] };
      if (result.kind !== "accept") {
        const { notes: n, obstacles: o } = applySummary(space, result, skb);
        // What it is translated to decides where it goes.
        return { ...(result.kind === "drop" ? { skb } : {}), notes: n, obstacles: [...obstacles, ...o] };
      }
      const wanted = result.state.translation;
      if (wanted === undefined) continue;
      const end = endOf(wanted, call);
      if (end === undefined)
        return { notes, obstacles: [{ sure: false, text: describeWhere(wanted.by), where: space.name }] };
      enter(c, which, end);
      notes.push({ kind: "translation", text: `by ${describeWhere(wanted.by)}` });
      break;
    }
    c.asked[which] = true;
  }
  const packet = translate(skb.packet, t, which);
  if (packet !== skb.packet && direction === "original" && notes.length === 0)
    notes.push({ kind: "translation", text: "as its connection was before" });
  return { skb: { ...skb, packet }, notes, obstacles };
}

/** Whether a chain for translation says anything of the packet, so that those behind it are not asked. */
const decides = (result: ReturnType<typeof summary>): boolean =>
  result.kind !== "accept" || result.state.translation !== undefined;

/** Undefined: it cannot be told. */
function endOf(
  t: Translation,
  call: HookCall,
): { readonly address?: Bits; readonly port?: Bits } | undefined {
  const address = t.kind === "to" ? t.address : call.ownAddress(t.kind);
  if (t.kind !== "to" && address === undefined) return undefined;
  if (address && !isKnown(address)) return undefined;
  // Which port a source gets is nobody's concern.
  if (t.port && !isKnown(t.port) && (t.kind !== "to" || t.which === "dnat")) return undefined;
  return { ...(address ? { address } : {}), ...(t.port ? { port: t.port } : {}) };
}

/** `inet filter forward: ip saddr 10.0.0.1 drop`. */
export function describeWhere({ family, table, chain: name, rule, why }: Where): string {
  const at = `${family} ${table} ${name}`;
  if (rule === undefined) return `the policy of ${at}`;
  const because = why === undefined ? "" : ` (${why})`;
  return `${at}: ${printRule(rule)}${because}`;
}

/** Tables of iptables-legacy: whether a chain has rules is known, and not what they say. */
function legacyStages(space: Space, { hook, family }: HookCall): readonly Stage[] {
  let chains: ReturnType<typeof listLegacyChains>;
  try {
    chains = space.within(() => listLegacyChains(family));
  } catch (e) {
    if (!isNetError(e, "sys/call")) throw e;
  }
  if (chains === undefined)
    return [
      stageOf(priority.filter, {
        sure: false,
        text: "tables of iptables-legacy, which cannot be read",
        where: space.name,
      }),
    ];
  return chains
    .filter((c) => c.hook === hook && (c.hasRules || c.policy === "drop"))
    .map((c) => {
      const text = `iptables-legacy (IPv${family}), table ${c.table}, chain ${c.hook.toUpperCase()}${c.hasRules ? "" : ": its policy"}`;
      const nat = hook === "prerouting" || hook === "output" ? priority.destination : priority.source;
      return stageOf(
        legacyPriority[c.table] ?? nat,
        { sure: !c.hasRules, text, where: space.name },
        c.table === "nat",
      );
    });
}

/** @param ends the packet may be another one behind it */
const stageOf = (at: number, obstacle: Obstacle, ends = false): Stage => ({
  priority: at,
  pass: (skb) => ({ ...(ends && !obstacle.sure ? {} : { skb }), notes: [], obstacles: [obstacle] }),
});
