/**
 * Reads expressions that this program never writes. What is not even known by name stays opaque: nobody can tell what it
 * does with a packet.
 */
import { attrs, bytes, cstr, fixedAttr } from "../../wire/attrs.ts";
import { be32, be64 } from "../../wire/fixed.ts";
import { dataAttrs } from "../attrs.ts";
import type { Expr } from "../expr.ts";
import { nameOf } from "../expr/expression.ts";
import { register } from "../registers.ts";
import { decodeMatch, decodeTarget } from "./compat.ts";
import {
  comparisons,
  ctKeys,
  fibFlags,
  fibResults,
  type Instruction,
  metaKeys,
  type NatInstruction,
} from "./instruction.ts";

const number = fixedAttr(be32);
type Decoder = (raw: Uint8Array) => Instruction | undefined;

/** The expression in the widest form that can be read. */
export function instructionOf(e: Expr): Instruction {
  if (e.kind !== "opaque") return e;
  return decoders.get(e.name)?.(e.bytes) ?? e;
}

const payloadAttrs = attrs("NFTA_PAYLOAD", {
  dreg: [1, register],
  base: [2, number],
  offset: [3, number],
  length: [4, number],
  sreg: [5, register],
});
const bases = { link: 0, network: 1, transport: 2, inner: 3 } as const;

const payload: Decoder = (raw) => {
  const a = payloadAttrs.decode(raw);
  const base = nameOf(bases, a.base);
  if (base === undefined || a.dreg === undefined || a.sreg !== undefined) return undefined;
  return { kind: "payload", base, offsetBytes: a.offset ?? 0, lengthBytes: a.length ?? 0, into: a.dreg };
};

const metaAttrs = attrs("NFTA_META", { dreg: [1, register], key: [2, number], sreg: [3, register] });
const meta: Decoder = (raw) => {
  const a = metaAttrs.decode(raw);
  const key = nameOf(metaKeys, a.key);
  if (a.sreg !== undefined && key !== undefined) return { kind: "set meta", key, from: a.sreg };
  if (a.dreg === undefined) return undefined;
  if (key === undefined) return { kind: "load unknown", into: a.dreg, text: `meta ${a.key ?? ""}` };
  return { kind: "meta", key, into: a.dreg };
};

const ctAttrs = attrs("NFTA_CT", {
  dreg: [1, register],
  key: [2, number],
  direction: [3, bytes],
  sreg: [4, register],
});
const ct: Decoder = (raw) => {
  const a = ctAttrs.decode(raw);
  const key = nameOf(ctKeys, a.key);
  if (a.sreg !== undefined && key !== undefined) return { kind: "set ct", key, from: a.sreg };
  if (a.dreg === undefined) return undefined;
  if (key === undefined) return { kind: "load unknown", into: a.dreg, text: `ct ${a.key ?? ""}` };
  const direction = a.direction === undefined ? undefined : a.direction[0] === 1 ? "reply" : "original";
  return { kind: "ct", key, into: a.dreg, ...(direction ? { direction } : {}) };
};

const cmpAttrs = attrs("NFTA_CMP", { sreg: [1, register], op: [2, number], data: [3, dataAttrs] });
const cmp: Decoder = (raw) => {
  const a = cmpAttrs.decode(raw);
  const op = nameOf(comparisons, a.op);
  const data = a.data?.value;
  return op === undefined || data === undefined || a.sreg === undefined
    ? undefined
    : { kind: "cmp", from: a.sreg, op, bytes: data };
};

const rangeAttrs = attrs("NFTA_RANGE", {
  sreg: [1, register],
  op: [2, number],
  low: [3, dataAttrs],
  high: [4, dataAttrs],
});
const range: Decoder = (raw) => {
  const a = rangeAttrs.decode(raw);
  const [low, high] = [a.low?.value, a.high?.value];
  if (a.sreg === undefined || low === undefined || high === undefined) return undefined;
  return { kind: "range", from: a.sreg, low, high, ...(a.op === 1 ? { not: true } : {}) };
};

const bitwiseAttrs = attrs("NFTA_BITWISE", {
  sreg: [1, register],
  dreg: [2, register],
  length: [3, number],
  mask: [4, dataAttrs],
  xor: [5, dataAttrs],
  op: [6, number],
});
const bitwise: Decoder = (raw) => {
  const a = bitwiseAttrs.decode(raw);
  if (a.sreg === undefined || a.dreg === undefined) return undefined;
  const mask = a.mask?.value;
  // Shifts, and operations between two registers.
  if ((a.op ?? 0) !== 0 || mask === undefined)
    return { kind: "load unknown", into: a.dreg, text: "[bitwise]" };
  const xor = a.xor?.value;
  return { kind: "bitwise", from: a.sreg, into: a.dreg, mask, ...(xor ? { xor } : {}) };
};

const orderAttrs = attrs("NFTA_BYTEORDER", {
  sreg: [1, register],
  dreg: [2, register],
  length: [4, number],
  size: [5, number],
});
const byteorder: Decoder = (raw) => {
  const a = orderAttrs.decode(raw);
  if (a.sreg === undefined || a.dreg === undefined) return undefined;
  return {
    kind: "byteorder",
    from: a.sreg,
    into: a.dreg,
    lengthBytes: a.length ?? 0,
    sizeBytes: a.size ?? 1,
  };
};

const fibAttrs = attrs("NFTA_FIB", { dreg: [1, register], result: [2, number], flags: [3, number] });
const fib: Decoder = (raw) => {
  const a = fibAttrs.decode(raw);
  const result = nameOf(fibResults, a.result);
  if (a.dreg === undefined || result === undefined) return undefined;
  const all = a.flags ?? 0;
  const of = all & fibFlags.daddr ? "daddr" : "saddr";
  const flags = all & ~(fibFlags.saddr | fibFlags.daddr);
  return { kind: "fib", of, result, into: a.dreg, ...(flags === 0 ? {} : { flags }) };
};

const immediateAttrs = attrs("NFTA_IMMEDIATE", { dreg: [1, register], data: [2, dataAttrs] });
const immediate: Decoder = (raw) => {
  const a = immediateAttrs.decode(raw);
  const value = a.data?.value;
  return value === undefined || a.dreg === undefined
    ? undefined
    : { kind: "constant", into: a.dreg, bytes: value };
};

const natAttrs = attrs("NFTA_NAT", {
  type: [1, number],
  family: [2, number],
  addressMin: [3, register],
  addressMax: [4, register],
  portMin: [5, register],
  portMax: [6, register],
  flags: [7, number],
});
/** NF_NAT_RANGE_PROTO_RANDOM and _PROTO_RANDOM_FULLY: the port is drawn. */
const RANDOM = (1 << 2) | (1 << 4);
const isRandom = (flags: number | undefined): { readonly random?: true } =>
  ((flags ?? 0) & RANDOM) === 0 ? {} : { random: true };
/** NF_NAT_RANGE_NETMAP: the host's part of the address stays. */
const NETMAP = 1 << 6;
const nat: Decoder = (raw) => {
  const a = natAttrs.decode(raw);
  if (((a.flags ?? 0) & NETMAP) !== 0) return undefined;
  const end = (low: number | undefined, high: number | undefined): number | undefined =>
    high === low ? undefined : high;
  const addressMax = end(a.addressMin, a.addressMax);
  const portMax = end(a.portMin, a.portMax);
  return {
    kind: "nat",
    type: a.type === 1 ? "dnat" : "snat",
    family: a.family === 10 ? "ip6" : "ip",
    ...(a.addressMin === undefined ? {} : { address: a.addressMin }),
    ...(addressMax === undefined ? {} : { addressMax }),
    ...(a.portMin === undefined ? {} : { port: a.portMin }),
    ...(portMax === undefined ? {} : { portMax }),
    ...isRandom(a.flags),
  } satisfies NatInstruction;
};

const masqAttrs = attrs("NFTA_MASQ", { flags: [1, number], portMin: [2, register] });
const masq: Decoder = (raw) => {
  const a = masqAttrs.decode(raw);
  return { kind: "masq", ...(a.portMin === undefined ? {} : { port: a.portMin }), ...isRandom(a.flags) };
};

const redirectAttrs = attrs("NFTA_REDIR", { portMin: [1, register], portMax: [2, register] });
const redirect: Decoder = (raw) => {
  const a = redirectAttrs.decode(raw);
  return {
    kind: "redirect",
    ...(a.portMin === undefined ? {} : { port: a.portMin }),
    ...(a.portMax === undefined || a.portMax === a.portMin ? {} : { portMax: a.portMax }),
  };
};

const rejectAttrs = attrs("NFTA_REJECT", { type: [1, number] });
const TCP_RESET = 1;

const limitAttrs = attrs("NFTA_LIMIT", {
  rate: [1, fixedAttr(be64)],
  unit: [2, fixedAttr(be64)],
  burst: [3, number],
  type: [4, number],
  flags: [5, number],
});
const units = new Map([
  [1n, "second"],
  [60n, "minute"],
  [3_600n, "hour"],
  [86_400n, "day"],
  [604_800n, "week"],
]);
const limit: Decoder = (raw) => {
  const a = limitAttrs.decode(raw);
  const over = (a.flags ?? 0) & 1 ? "over " : "";
  const what = a.type === 1 ? " bytes" : "";
  return {
    kind: "test unknown",
    text: `limit rate ${over}${a.rate ?? 0n}${what}/${units.get(a.unit ?? 1n) ?? `${a.unit} seconds`}`,
  };
};

const logAttrs = attrs("NFTA_LOG", { group: [1, bytes], prefix: [2, cstr] });
const log: Decoder = (raw) => {
  const { prefix } = logAttrs.decode(raw);
  return { kind: "aside", text: prefix === undefined ? "log" : `log prefix "${prefix}"` };
};

/** Expressions that put something into a register: its number is their attribute with this type. */
const loader =
  (text: string, type: number): Decoder =>
  (raw) => {
    const a = attrs(`NFTA ${text}`, { dreg: [type, register] }).decode(raw);
    return a.dreg === undefined ? undefined : { kind: "load unknown", into: a.dreg, text };
  };
const tester =
  (text: string): Decoder =>
  () => ({ kind: "test unknown", text });
const aside =
  (text: string): Decoder =>
  () => ({ kind: "aside", text });

const exthdrAttrs = attrs("NFTA_EXTHDR", { dreg: [1, register], sreg: [7, register] });
/** Options of a header are read; one that is absent ends the rule, and one that is written is written if it is there. */
const exthdr: Decoder = (raw) => {
  const a = exthdrAttrs.decode(raw);
  return a.dreg === undefined
    ? { kind: "test unknown", text: "[exthdr]" }
    : { kind: "load unknown", into: a.dreg, text: "[exthdr]" };
};

const objectAttrs = attrs("NFTA_OBJREF", { type: [1, number], name: [2, cstr] });
/** NFT_OBJECT_COUNTER and _CT_HELPER, _CT_TIMEOUT, _SECMARK, _CT_EXPECT: they change nothing that decides here. */
const HARMLESS: readonly number[] = [1, 3, 7, 8, 9];
const objref: Decoder = (raw) => {
  const { type, name = "" } = objectAttrs.decode(raw);
  const text = `[object "${name}"]`;
  return type !== undefined && HARMLESS.includes(type)
    ? { kind: "aside", text }
    : { kind: "test unknown", text };
};

const decoders: ReadonlyMap<string, Decoder> = new Map<string, Decoder>([
  ["payload", payload],
  ["meta", meta],
  ["ct", ct],
  ["cmp", cmp],
  ["range", range],
  ["bitwise", bitwise],
  ["byteorder", byteorder],
  ["fib", fib],
  ["immediate", immediate],
  ["nat", nat],
  ["masq", masq],
  ["redir", redirect],
  ["reject", (raw) => ({ kind: "reject", reset: rejectAttrs.decode(raw).type === TCP_RESET })],
  ["limit", limit],
  ["log", log],
  ["notrack", () => ({ kind: "notrack" })],
  ["match", decodeMatch],
  ["target", decodeTarget],
  ["exthdr", exthdr],
  ["objref", objref],
  ["last", aside("last used")],
  ["flow_offload", tester("flow add")],
  ["dynset", tester("[dynset]")],
  ["quota", tester("quota")],
  ["connlimit", tester("ct count")],
  ["numgen", loader("numgen", 1)],
  ["hash", loader("hash", 2)],
  ["rt", loader("rt", 1)],
  ["socket", loader("socket", 2)],
  ["osf", loader("osf", 1)],
  ["xfrm", loader("ipsec", 1)],
  ["tunnel", loader("tunnel", 2)],
]);
