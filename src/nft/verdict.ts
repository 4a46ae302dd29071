import type { verdictAttrs } from "./attrs.ts";

/** Where a packet goes next. A table of attributes when it is on the wire, a small value above. */
export type Verdict =
  "accept" | "drop" | "continue" | "return" | { readonly jump: string } | { readonly goto: string };

/** NF_* (linux/netfilter.h) and NFT_* (linux/netfilter/nf_tables.h), as unsigned numbers. */
const codes = { drop: 0, accept: 1, continue: 0xffffffff, return: 0xfffffffb } as const;
const JUMP = 0xfffffffd;
const GOTO = 0xfffffffc;

type VerdictAttrs = ReturnType<typeof verdictAttrs.decode>;

export function encodeVerdict(v: Verdict): VerdictAttrs {
  if (typeof v === "string") return { code: codes[v] };
  return "jump" in v ? { code: JUMP, chain: v.jump } : { code: GOTO, chain: v.goto };
}

/** Undefined for a verdict that this program never makes, such as a queue. */
export function decodeVerdict(a: VerdictAttrs): Verdict | undefined {
  const code = (a.code ?? 0) >>> 0;
  if (code === JUMP) return { jump: a.chain ?? "" };
  if (code === GOTO) return { goto: a.chain ?? "" };
  return (Object.keys(codes) as (keyof typeof codes)[]).find((name) => codes[name] === code);
}
