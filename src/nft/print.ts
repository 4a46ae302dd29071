import { type Ip, ipFromBytes, prefix } from "../net/ip.ts";
import { macFromBytes } from "../net/mac.ts";
import { instructionOf } from "./foreign/decode.ts";
import {
  type comparisons,
  type CtKey,
  fibFlags,
  type Instruction,
  isLoad,
  type Load,
  type MetaKey,
} from "./foreign/instruction.ts";
import type { Rule } from "./model.ts";
import type { Verdict } from "./verdict.ts";

/**
 * Rules as text, as nft prints them: what the kernel has, and not what somebody meant to put there. What is not understood
 * stands in brackets with its name.
 */
interface Loaded {
  readonly text: string;
  readonly type:
    | "ip"
    | "ip6"
    | "mac"
    | "name"
    | "protocol"
    | "port"
    | "address type"
    | "nfproto"
    | "ct status"
    | "ct state"
    | "mark"
    | "number"
    | "bytes";
  /** Bits that are looked at, of an address. */
  readonly bits?: number;
  readonly mask?: Uint8Array;
  /** Known: what a rule puts there by itself. */
  readonly constant?: Uint8Array;
}

const decoder = new TextDecoder();

/** By `base offset`: the name of the field, its bytes, and what is in it. */
const headers: Readonly<Record<string, readonly [text: string, bytes: number, type: Loaded["type"]]>> = {
  "network 12": ["ip saddr", 4, "ip"],
  "network 16": ["ip daddr", 4, "ip"],
  "network 8": ["ip6 saddr", 16, "ip6"],
  "network 24": ["ip6 daddr", 16, "ip6"],
  "link 0": ["ether daddr", 6, "mac"],
  "link 6": ["ether saddr", 6, "mac"],
  "link 12": ["ether type", 2, "bytes"],
  "network 9": ["ip protocol", 1, "protocol"],
  "transport 0": ["th sport", 2, "port"],
  "transport 2": ["th dport", 2, "port"],
  "transport 13": ["tcp flags", 1, "bytes"],
};
const bases = { link: "ll", network: "nh", transport: "th", inner: "ih" } as const;

const metas: Readonly<Partial<Record<MetaKey, Loaded>>> = {
  iifname: { text: "iifname", type: "name" },
  oifname: { text: "oifname", type: "name" },
  ibrname: { text: "meta ibrname", type: "name" },
  obrname: { text: "meta obrname", type: "name" },
  nfproto: { text: "meta nfproto", type: "nfproto" },
  l4proto: { text: "meta l4proto", type: "protocol" },
  iif: { text: "iif", type: "number" },
  oif: { text: "oif", type: "number" },
  mark: { text: "meta mark", type: "mark" },
};
/** Of connection tracking; what is not here is shown as bytes. */
const tracked: Readonly<Partial<Record<CtKey, Loaded["type"]>>> = {
  state: "ct state",
  status: "ct status",
  mark: "mark",
  "ip saddr": "ip",
  "ip daddr": "ip",
  "ip6 saddr": "ip6",
  "ip6 daddr": "ip6",
  "proto-src": "port",
  "proto-dst": "port",
};
/** Bits of `ct state` (linux/netfilter/nf_conntrack_common.h). */
const states = [
  [1, "invalid"],
  [2, "established"],
  [4, "related"],
  [8, "new"],
  [64, "untracked"],
] as const;

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
  const instructions = expressions.map(instructionOf);
  const registers = new Map<number, Loaded>();
  /** Registers since the last use: the parts of a key that is looked up. */
  let fresh: number[] = [];
  const key = (): string => fresh.map((r) => registers.get(r)?.text ?? "").join(" . ");
  const load = (into: number, value: Loaded): void => {
    registers.set(into, value);
    fresh = [...fresh.filter((r) => r !== into), into];
  };
  const words: string[] = [];
  for (const [at, e] of instructions.entries()) {
    if (isLoad(e)) {
      const loaded = loadedBy(e, registers);
      if (loaded) load(e.into, loaded);
    } else if (e.kind === "lookup" && typeof e.into === "number") {
      const text = `${key()} map @${e.set}`;
      fresh = [];
      load(e.into, { text, type: "bytes" });
    } else {
      const text = e.kind === "cmp" && isImplied(instructions, at) ? "" : statement(e, registers, key);
      if (text !== "") words.push(text);
      fresh = [];
    }
  }
  return words.join(" ");
}

/** What a register has then; undefined for what puts nothing into one. */
function loadedBy(e: Load, registers: ReadonlyMap<number, Loaded>): Loaded | undefined {
  switch (e.kind) {
    case "meta":
      return metas[e.key] ?? { text: `meta ${e.key}`, type: "bytes" };
    case "payload":
      return payloadOf(e);
    case "ct":
      return {
        text: `ct ${e.direction === undefined ? "" : `${e.direction} `}${e.key}`,
        type: tracked[e.key] ?? "bytes",
      };
    case "fib":
      return fibText(e);
    case "load unknown":
      return { text: e.text, type: "bytes" };
    case "constant":
      return { text: hex(e.bytes), type: "bytes", constant: e.bytes };
    case "byteorder":
      return registers.get(e.from);
    case "bitwise": {
      const from = registers.get(e.from);
      return from && { ...from, mask: e.mask };
    }
  }
}

function fibText({ of, result, flags = 0 }: Extract<Instruction, { kind: "fib" }>): Loaded {
  const more = (["mark", "iif", "oif"] as const).filter((name) => (flags & fibFlags[name]) !== 0);
  const what = (flags & fibFlags.present) === 0 ? result : `${result} exists`;
  return {
    text: `fib ${[of, ...more].join(" . ")} ${what}`,
    type: result === "type" ? "address type" : result === "oifname" ? "name" : "number",
  };
}

function payloadOf(e: Extract<Instruction, { kind: "payload" }>): Loaded {
  const [text, bytes, type] = headers[`${e.base} ${e.offsetBytes}`] ?? [];
  const whole = e.lengthBytes === bytes;
  if (text === undefined || type === undefined || (!whole && type !== "ip" && type !== "ip6"))
    return { text: `@${bases[e.base]},${e.offsetBytes * 8},${e.lengthBytes * 8}`, type: "bytes" };
  return { text, type, ...(whole ? {} : { bits: e.lengthBytes * 8 }) };
}

/** nft leaves out the test for a protocol in front of a field of it. */
function isImplied(instructions: readonly Instruction[], at: number): boolean {
  const before = instructions[at - 1];
  if (before?.kind !== "meta" || before.key !== "nfproto") return false;
  return instructions.slice(at + 1).some((e) => e.kind === "payload" && e.base === "network");
}

function statement(
  e: Exclude<Instruction, Load>,
  registers: ReadonlyMap<number, Loaded>,
  key: () => string,
): string {
  switch (e.kind) {
    case "cmp": {
      const of = registers.get(e.from);
      return of === undefined ? "[cmp]" : comparison(of, e.op, e.bytes);
    }
    case "range": {
      const of = registers.get(e.from) ?? { text: "[?]", type: "bytes" };
      return `${of.text} ${e.not ? "!= " : ""}${valueOf(of, e.low)}-${valueOf(of, e.high)}`;
    }
    case "lookup":
      return e.into === "verdict" ? `${key()} vmap @${e.set}` : `${key()} ${e.not ? "!= " : ""}@${e.set}`;
    case "nat":
      return `${e.type} ${e.family} to ${natTarget(e, registers)}`;
    case "masq":
      return `masquerade${e.random === undefined ? "" : e.random === "fully" ? " fully-random" : " random"}`;
    case "redirect":
      return `redirect${e.port === undefined ? "" : ` to :${portText(registers.get(e.port))}`}`;
    case "reject":
      return `reject${e.reset ? " with tcp reset" : ""}`;
    case "counter":
      return `counter packets ${e.packets} bytes ${e.bytes}`;
    case "immediate":
      return printVerdict(e.verdict);
    case "set meta":
      return `meta ${e.key} set ${setText(registers.get(e.from), e.key === "mark")}`;
    case "set ct":
      return `ct ${e.key} set ${setText(registers.get(e.from), e.key === "mark")}`;
    case "aside":
    case "test unknown":
      return e.text;
    case "notrack":
      return "notrack";
    case "match":
    case "target":
      return `[${e.kind} ${e.name}]`;
    case "opaque":
      return `[${e.name}]`;
  }
}

function setText(from: Loaded | undefined, isMark: boolean): string {
  const constant = from?.constant;
  return isMark && constant ? markText(constant) : (from?.text ?? "[?]");
}

/** An address and a port that the rule itself names, or where they are looked up. */
function natTarget(
  { address, port }: Extract<Instruction, { kind: "nat" }>,
  registers: ReadonlyMap<number, Loaded>,
): string {
  const to = address === undefined ? undefined : registers.get(address);
  const constant = to?.constant;
  const isAddress = constant?.length === 4 || constant?.length === 16;
  const text =
    constant && isAddress ? ipFromBytes(constant).text : (to?.text ?? (address === undefined ? "" : "[?]"));
  const known = port === undefined ? undefined : registers.get(port);
  if (known?.constant === undefined) return text;
  return `${constant?.length === 16 ? `[${text}]` : text}:${portText(known)}`;
}

const portText = (of: Loaded | undefined): string =>
  of?.constant === undefined
    ? (of?.text ?? "[?]")
    : String((of.constant[0] ?? 0) * 256 + (of.constant[1] ?? 0));

const markText = (bytes: Uint8Array): string => `0x${hostNumber(bytes).toString(16).padStart(8, "0")}`;
/** Four bytes in the byte order of this machine. */
const hostNumber = (bytes: Uint8Array): number => bytes.reduce((n, byte, i) => n + byte * 256 ** i, 0);

function comparison(of: Loaded, op: keyof typeof comparisons, bytes: Uint8Array): string {
  // What is not compared with a number of its own is tested for a bit.
  if (of.type === "ct status")
    return of.mask?.[0] === DNAT_BIT && op === "!=" && bytes.every((b) => b === 0)
      ? "ct status dnat"
      : "[ct status]";
  if (of.type === "ct state" && of.mask && bytes.every((b) => b === 0))
    return `${of.text} ${op === "!=" ? "" : "!= "}${stateNames(of.mask)}`;
  if (of.type === "mark" && of.mask) return `${of.text} & ${markText(of.mask)} ${op} ${markText(bytes)}`;
  if (of.text.endsWith(" exists")) return bytes[0] === 0 ? `${of.text.slice(0, -7)} missing` : of.text;
  const sign = op === "==" ? "" : `${op} `;
  const masked = of.type === "bytes" && of.mask ? ` & ${hex(of.mask)}` : "";
  return `${of.text}${masked} ${sign}${valueOf(of, bytes)}`;
}

const stateNames = (mask: Uint8Array): string => {
  const bits = hostNumber(mask);
  return states.flatMap(([bit, name]) => ((bits & bit) === 0 ? [] : [name])).join(",");
};

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
    case "mark":
      return markText(bytes);
    case "number":
      return String(hostNumber(bytes));
    case "ct state":
      return stateNames(bytes);
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
