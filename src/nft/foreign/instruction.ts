/**
 * What rules of any program say: the expressions that this program writes, in every form that the kernel has of them, and
 * those that it never writes. Read to understand rules of others, and never sent.
 */
import type { Counter } from "../expr/counter.ts";
import type { Lookup } from "../expr/lookup.ts";
import type { Verdict } from "../verdict.ts";
import type { Compat } from "./compat.ts";

/** NFT_META_* (linux/netfilter/nf_tables.h), by the names that nft prints. */
export const metaKeys = {
  length: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  rtclassid: 13,
  secmark: 14,
  nfproto: 15,
  l4proto: 16,
  ibrname: 17,
  obrname: 18,
  pkttype: 19,
  cpu: 20,
  iifgroup: 21,
  oifgroup: 22,
  cgroup: 23,
  random: 24,
  ipsec: 25,
  iifkind: 26,
  oifkind: 27,
  ibrpvid: 28,
  ibrvproto: 29,
  time: 30,
  day: 31,
  hour: 32,
  sdif: 33,
  sdifname: 34,
  ibrhwaddr: 35,
} as const;
export type MetaKey = keyof typeof metaKeys;

/** NFT_CT_*. */
export const ctKeys = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  secmark: 4,
  expiration: 5,
  helper: 6,
  l3proto: 7,
  saddr: 8,
  daddr: 9,
  protocol: 10,
  "proto-src": 11,
  "proto-dst": 12,
  label: 13,
  packets: 14,
  bytes: 15,
  avgpkt: 16,
  zone: 17,
  event: 18,
  "ip saddr": 19,
  "ip daddr": 20,
  "ip6 saddr": 21,
  "ip6 daddr": 22,
  id: 23,
} as const;
export type CtKey = keyof typeof ctKeys;

export const comparisons = { "==": 0, "!=": 1, "<": 2, "<=": 3, ">": 4, ">=": 5 } as const;
export const fibResults = { oif: 1, oifname: 2, type: 3 } as const;
/** NFTA_FIB_F_*. */
export const fibFlags = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16, present: 32 } as const;

export type Instruction =
  | {
      readonly kind: "payload";
      readonly base: "link" | "network" | "transport" | "inner";
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly into: number;
    }
  | { readonly kind: "meta"; readonly key: MetaKey; readonly into: number }
  | { readonly kind: "set meta"; readonly key: MetaKey; readonly from: number }
  | {
      readonly kind: "ct";
      readonly key: CtKey;
      readonly into: number;
      readonly direction?: "original" | "reply";
    }
  | { readonly kind: "set ct"; readonly key: CtKey; readonly from: number }
  | {
      readonly kind: "cmp";
      readonly from: number;
      readonly op: keyof typeof comparisons;
      readonly bytes: Uint8Array;
    }
  | {
      readonly kind: "range";
      readonly from: number;
      readonly not?: true;
      readonly low: Uint8Array;
      readonly high: Uint8Array;
    }
  | {
      readonly kind: "bitwise";
      readonly from: number;
      readonly into: number;
      readonly mask: Uint8Array;
      readonly xor?: Uint8Array;
    }
  /** Only changes the order of bytes within numbers of so many bytes. */
  | {
      readonly kind: "byteorder";
      readonly from: number;
      readonly into: number;
      readonly lengthBytes: number;
      readonly sizeBytes: number;
    }
  | {
      readonly kind: "fib";
      readonly of: "saddr" | "daddr";
      readonly result: keyof typeof fibResults;
      readonly into: number;
      /** Every flag but the address; absent: none. */
      readonly flags?: number;
    }
  | Lookup
  | Counter
  | { readonly kind: "immediate"; readonly verdict: Verdict }
  | { readonly kind: "constant"; readonly into: number; readonly bytes: Uint8Array }
  | NatInstruction
  | { readonly kind: "masq"; readonly port?: number; readonly random?: true | "fully" }
  | { readonly kind: "redirect"; readonly port?: number; readonly portMax?: number }
  | { readonly kind: "reject"; readonly reset: boolean }
  /** Goes on in any case and changes nothing that a rule asks for. */
  | { readonly kind: "aside"; readonly text: string }
  | { readonly kind: "notrack" }
  /** Puts something that nobody here can tell into a register. */
  | { readonly kind: "load unknown"; readonly into: number; readonly text: string }
  /** Goes on with the rule or not, by what nobody here can tell. */
  | { readonly kind: "test unknown"; readonly text: string }
  | Compat
  | { readonly kind: "opaque"; readonly name: string; readonly bytes: Uint8Array };

export interface NatInstruction {
  readonly kind: "nat";
  readonly type: "snat" | "dnat";
  readonly family: "ip" | "ip6";
  /** Registers; absent: the address or the port stays. */
  readonly address?: number;
  readonly port?: number;
  /** Ends of a range, in registers. */
  readonly addressMax?: number;
  readonly portMax?: number;
  /** The port is drawn anew. */
  readonly random?: true;
}

/** Puts something into a register. Lookups do so, too, if they are of a map. */
export type Load = Extract<
  Instruction,
  { kind: "payload" | "meta" | "ct" | "fib" | "load unknown" | "constant" | "byteorder" | "bitwise" }
>;
const loads: readonly Instruction["kind"][] = [
  "payload",
  "meta",
  "ct",
  "fib",
  "load unknown",
  "constant",
  "byteorder",
  "bitwise",
] satisfies readonly Load["kind"][];
export const isLoad = (e: Instruction): e is Load => loads.includes(e.kind);
