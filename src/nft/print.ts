import { type Ip, ipFromBytes, prefix } from "../net/ip.ts";
import { macFromBytes } from "../net/mac.ts";
import type { Expr } from "./expr.ts";
import type { Rule } from "./model.ts";
import type { Verdict } from "./verdict.ts";

/**
 * Rules as text, as nft prints them: what the kernel has, and not what somebody meant to put there. What is not understood
 * stands in brackets with its name.
 */
interface Loaded {
  readonly text: string;
  readonly type:
    "ip" | "ip6" | "mac" | "name" | "protocol" | "port" | "address type" | "nfproto" | "ct status" | "bytes";
  /** Bits that are looked at, of an address. */
  readonly bits?: number;
  readonly mask?: Uint8Array;
}

const decoder = new TextDecoder();

/** By `base offset`: the name of the field, its bytes, and what is in it. */
const headers: Readonly<Record<string, readonly [text: string, bytes: number, type: Loaded["type"]]>> = {
  "network 12": ["ip saddr", 4, "ip"],
  "network 16": ["ip daddr", 4, "ip"],
  "network 8": ["ip6 saddr", 16, "ip6"],
  "network 24": ["ip6 daddr", 16, "ip6"],
  "link 6": ["ether saddr", 6, "mac"],
  "transport 2": ["th dport", 2, "port"],
};
const bases = { link: "ll", network: "nh", transport: "th" } as const;

const metas = {
  iifname: { text: "iifname", type: "name" },
  oifname: { text: "oifname", type: "name" },
  nfproto: { text: "meta nfproto", type: "nfproto" },
  l4proto: { text: "meta l4proto", type: "protocol" },
} as const satisfies Record<Extract<Expr, { kind: "meta" }>["key"], Loaded>;

/** IANA's numbers, of what has ports. */
const protocols: Readonly<Record<number, string>> = { 6: "tcp", 17: "udp", 132: "sctp" };
export const protocolName = (n: number): string => protocols[n] ?? String(n);
/** NFPROTO_* and RTN_* (linux/netfilter.h, linux/rtnetlink.h). */
const nfprotos: Readonly<Record<number, string>> = { 2: "ipv4", 10: "ipv6" };
const addressTypes: Readonly<Record<number, string>> = {
  1: "unicast",
  2: "local",
  3: "broadcast",
  5: "multicast",
};
/** IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h). */
const DNAT_BIT = 0x20;

/** The rule as one line of nft, without its comment. */
export function printRule({ expressions }: Pick<Rule, "expressions">): string {
  const registers = new Map<number, Loaded>();
  /** Registers since the last use: the parts of a key that is looked up. */
  let fresh: number[] = [];
  const key = (): string => fresh.map((r) => registers.get(r)?.text ?? "").join(" . ");
  const load = (into: number, value: Loaded): void => {
    registers.set(into, value);
    fresh = [...fresh.filter((r) => r !== into), into];
  };
  const words: string[] = [];
  for (const [at, e] of expressions.entries()) {
    if (e.kind === "meta") load(e.into, metas[e.key]);
    else if (e.kind === "payload") load(e.into, payloadOf(e));
    else if (e.kind === "ct") load(e.into, { text: "ct status", type: "ct status" });
    else if (e.kind === "fib") load(e.into, { text: `fib ${e.of} type`, type: "address type" });
    else if (e.kind === "bitwise") {
      const from = registers.get(e.from);
      if (from) load(e.into, { ...from, mask: e.mask });
    } else if (e.kind === "lookup" && typeof e.into === "number") {
      const text = `${key()} map @${e.set}`;
      fresh = [];
      load(e.into, { text, type: "bytes" });
    } else {
      const text = e.kind === "cmp" && isImplied(expressions, at) ? "" : statement(e, registers, key);
      if (text !== "") words.push(text);
      fresh = [];
    }
  }
  return words.join(" ");
}

function payloadOf(e: Extract<Expr, { kind: "payload" }>): Loaded {
  const [text, bytes, type] = headers[`${e.base} ${e.offsetBytes}`] ?? [];
  const whole = e.lengthBytes === bytes;
  if (text === undefined || type === undefined || (!whole && type !== "ip" && type !== "ip6"))
    return { text: `@${bases[e.base]},${e.offsetBytes * 8},${e.lengthBytes * 8}`, type: "bytes" };
  return { text, type, ...(whole ? {} : { bits: e.lengthBytes * 8 }) };
}

/** nft leaves out the test for a protocol in front of a field of it. */
function isImplied(expressions: readonly Expr[], at: number): boolean {
  const before = expressions[at - 1];
  if (before?.kind !== "meta" || before.key !== "nfproto") return false;
  return expressions.slice(at + 1).some((e) => e.kind === "payload" && e.base === "network");
}

type Statement = Exclude<Expr, { kind: "meta" | "payload" | "ct" | "fib" | "bitwise" }>;

function statement(e: Statement, registers: ReadonlyMap<number, Loaded>, key: () => string): string {
  switch (e.kind) {
    case "cmp": {
      const of = registers.get(e.from);
      return of === undefined ? "[cmp]" : comparison(of, e.op, e.bytes);
    }
    case "lookup":
      return e.into === "verdict" ? `${key()} vmap @${e.set}` : `${key()} ${e.not ? "!= " : ""}@${e.set}`;
    case "nat":
      return `${e.type} ${e.family} to ${registers.get(e.address)?.text ?? "[?]"}`;
    case "masq":
      return "masquerade";
    case "counter":
      return `counter packets ${e.packets} bytes ${e.bytes}`;
    case "immediate":
      return printVerdict(e.verdict);
    case "opaque":
      return `[${e.name}]`;
  }
}

function comparison(of: Loaded, op: "==" | "!=", bytes: Uint8Array): string {
  // What is not compared with a number of its own is tested for a bit.
  if (of.type === "ct status")
    return of.mask?.[0] === DNAT_BIT && op === "!=" && bytes.every((b) => b === 0)
      ? "ct status dnat"
      : "[ct status]";
  return `${of.text} ${op === "!=" ? "!= " : ""}${valueOf(of, bytes)}`;
}

function valueOf({ type, bits, mask }: Loaded, bytes: Uint8Array): string {
  const number = bytes[0] ?? 0;
  switch (type) {
    case "ip":
      return addressOf(4, bytes, bits ?? maskBits(mask));
    case "ip6":
      return addressOf(16, bytes, bits ?? maskBits(mask));
    case "mac":
      return macFromBytes(bytes) ?? hex(bytes);
    case "name":
      return `"${decoder.decode(bytes).replace(/\0.*$/s, "")}"`;
    case "protocol":
      return protocolName(number);
    case "port":
      return String(number * 256 + (bytes[1] ?? 0));
    case "nfproto":
      return nfprotos[number] ?? String(number);
    case "address type":
      return addressTypes[number] ?? String(number);
    case "ct status":
    case "bytes":
      return hex(bytes);
  }
}

const hex = (bytes: Uint8Array): string => `0x${Buffer.from(bytes).toString("hex")}`;

const maskBits = (mask: Uint8Array | undefined): number | undefined =>
  mask?.reduce((n, byte) => n + byte.toString(2).replaceAll("0", "").length, 0);

/** An address, or a prefix of which as many bytes are given as it needs. */
function addressOf(size: 4 | 16, bytes: Uint8Array, bits: number | undefined): string {
  const whole = new Uint8Array(size);
  whole.set(bytes);
  const ip: Ip = ipFromBytes(whole);
  return bits === undefined ? ip.text : prefix(ip, bits).text;
}

/** `goto masq_10.88.0.0/16`, as nft prints it. */
export const printVerdict = (v: Verdict): string =>
  typeof v === "string" ? v : "jump" in v ? `jump ${v.jump}` : `goto ${v.goto}`;
