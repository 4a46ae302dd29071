/** What rules know of a packet and what they change in it, on its way through the chains of one hook. */
import type { RuleInfo, TableRef } from "../model.ts";
import { type Bits, join, same, type Truth } from "./bits.ts";
import type { Packet } from "./packet.ts";
import type { HookName } from "./rule-set.ts";

/** A rule, or the policy of a chain. */
export interface Where extends TableRef {
  readonly chain: string;
  readonly rule?: RuleInfo;
  /** What of the rule cannot be told; absent if it can. */
  readonly why?: string;
}

/** A translation that a rule asks for. */
export type Translation =
  | { readonly kind: "to"; readonly which: "snat" | "dnat"; readonly address?: Bits; readonly port?: Bits }
  /** To the address of the interface that the packet leaves by. */
  | { readonly kind: "masquerade"; readonly port?: Bits }
  /** To this host, where the packet came in. */
  | { readonly kind: "redirect"; readonly port?: Bits };

export interface State {
  readonly packet: Packet;
  readonly mark: Bits;
  readonly ctMark: Bits;
  /** Whether connection tracking was told to leave it alone. */
  readonly untracked: Truth;
  readonly translation?: Translation & { readonly by: Where };
  /** What of this is not known because of a rule, if anything. */
  readonly blur?: Where;
  /** Rules of this chain of which it cannot be told whether they match, and which matter. */
  readonly doubts: readonly Where[];
}

/** An interface as rules see it. */
export interface Interface {
  readonly index: number;
  readonly name: string;
}

/** One direction of a connection. */
export interface Tuple {
  readonly source: Bits;
  readonly destination: Bits;
  readonly sourcePort?: Bits;
  readonly destinationPort?: Bits;
}

/** A packet's connection as `ct` shows it. */
export interface Tracked {
  /** Numbers of IP_CT_*: `ct state` and `ct status` in the byte order of this machine. */
  readonly state: Bits;
  readonly status: Bits;
  readonly direction: "original" | "reply";
  readonly original: Tuple;
  readonly reply: Tuple;
}

export interface FibQuestion {
  readonly of: "saddr" | "daddr";
  readonly result: "oif" | "oifname" | "type";
  /** As in the rule: `fibFlags`. */
  readonly flags: number;
}

/** What the chains of one hook are run with. */
export interface Environment {
  readonly hook: HookName;
  /** NFPROTO_*: what `meta nfproto` is. */
  readonly nfproto: number;
  readonly iif?: Interface;
  readonly oif?: Interface;
  /** Names of the bridges that the two are ports of. */
  readonly bridge?: { readonly in?: string; readonly out?: string };
  /** PACKET_*: to whom the frame was sent; absent: not known. */
  readonly packetType?: number;
  /** Absent: connection tracking has not looked at it. */
  readonly ct?: Tracked | "unknown";
  /** What routing says; undefined: it cannot be told. */
  fib(question: FibQuestion, packet: Packet): Bits | undefined;
}

const equalState = (a: State, b: State): boolean =>
  a.packet === b.packet &&
  same(a.mark, b.mark) &&
  same(a.ctMark, b.ctMark) &&
  a.untracked === b.untracked &&
  a.translation === b.translation;

/** One of the two, and nobody knows which: `because` of the rule that decides it. */
export function joinStates(a: State, b: State, because: Where | undefined): State {
  if (equalState(a, b)) {
    const shorter = a.doubts.length <= b.doubts.length ? a : b;
    return shorter;
  }
  const doubts = [...new Set([...a.doubts, ...b.doubts])];
  const blur = because ?? doubts.at(-1) ?? a.blur ?? b.blur;
  return {
    packet: a.packet,
    mark: join(a.mark, b.mark),
    ctMark: join(a.ctMark, b.ctMark),
    untracked: a.untracked === b.untracked ? a.untracked : undefined,
    ...(a.translation === undefined ? {} : { translation: a.translation }),
    ...(blur === undefined ? {} : { blur }),
    doubts,
  };
}
