import { describe, expect, test } from "bun:test";
import { attrs, fixedAttr } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import { dataAttrs } from "../attrs.ts";
import type { Expr } from "../expr.ts";
import type { RuleInfo } from "../model.ts";
import { rule, type Statement } from "../statement.ts";
import { register } from "../registers.ts";
import { big16, type Bits, host32, known, unknown } from "./bits.ts";
import { runBase, summary } from "./evaluate.ts";
import { packetOf } from "./packet.ts";
import type { BaseChain, RuleSet, SetContent } from "./rule-set.ts";
import type { Environment, State, Tracked } from "./state.ts";
import { cidr, ip } from "../../testing/address.ts";

const number = fixedAttr(be32);
const cmpAttrs = attrs("NFTA_CMP", { sreg: [1, register], op: [2, number], data: [3, dataAttrs] });
const immediateAttrs = attrs("NFTA_IMMEDIATE", { dreg: [1, register], data: [2, dataAttrs] });
const storeAttrs = attrs("NFTA_META", { key: [2, number], sreg: [3, register] });

const opaque = (name: string, bytes: Uint8Array = new Uint8Array(0)): Expr => ({
  kind: "opaque",
  name,
  bytes,
});
const limit = opaque("limit");
/** An expression that nobody knows, such as one of a later kernel. */
const strange = opaque("strange");
const verdict = (
  v: "accept" | "drop" | "return" | { readonly jump: string } | { readonly goto: string },
): Expr => ({
  kind: "immediate",
  verdict: v,
});
const source = (prefix: string): readonly Expr[] =>
  statement({ prefix: "ip saddr", op: "==", in: cidr(prefix) });
const statement = (...s: readonly Statement[]): readonly Expr[] => rule("ip", s).expressions;
const port = (n: number, op = 0): readonly Expr[] => [
  { kind: "payload", base: "transport", offsetBytes: 2, lengthBytes: 2, into: 0 },
  opaque("cmp", cmpAttrs.encode({ sreg: 0, op, data: { value: big16(n).bytes } })),
];
const GREATER = 4;
const setMark = (n: number): readonly Expr[] => [
  opaque("immediate", immediateAttrs.encode({ dreg: 0, data: { value: host32(n).bytes } })),
  opaque("meta", storeAttrs.encode({ key: 3, sreg: 0 })),
];
const markIs = (n: number): readonly Expr[] => [
  { kind: "meta", key: "l4proto", into: 0 },
  opaque("meta", attrs("M", { dreg: [1, register], key: [2, number] }).encode({ dreg: 0, key: 3 })),
  { kind: "cmp", from: 0, op: "==", bytes: host32(n).bytes },
];
const state = (bits: number): readonly Expr[] => [
  opaque("ct", attrs("C", { dreg: [1, register], key: [2, number] }).encode({ dreg: 0, key: 0 })),
  { kind: "bitwise", from: 0, into: 0, mask: host32(bits).bytes },
  { kind: "cmp", from: 0, op: "!=", bytes: host32(0).bytes },
];
const NEW = 8;

type Chains = Readonly<Record<string, readonly (readonly Expr[])[]>>;
function ruleSet(chains: Chains, sets: Readonly<Record<string, SetContent>> = {}): RuleSet {
  const infos = (name: string): readonly RuleInfo[] =>
    (chains[name] ?? []).map((expressions, i) => ({ chain: name, handle: BigInt(i + 1), expressions }));
  return { bases: [], chain: (_, name) => infos(name), set: (_, name) => sets[name] };
}

const tuple = { source: unknown(4), destination: unknown(4) };
const first: Tracked = {
  state: host32(NEW),
  status: host32(0),
  direction: "original",
  original: tuple,
  reply: tuple,
};
const environment: Environment = {
  hook: "forward",
  nfproto: 2,
  iif: { index: 3, name: "one0" },
  oif: { index: 4, name: "two0" },
  ct: first,
  fib: () => undefined,
};

const entry = (sourcePort: Bits = unknown(2)): State => ({
  packet: packetOf({
    source: ip("10.60.0.2"),
    destination: ip("10.61.0.2"),
    ttl: 64,
    transport: { kind: "tcp", sourcePort, destinationPort: big16(80) },
  }),
  mark: host32(0),
  ctMark: host32(0),
  untracked: false,
  doubts: [],
});

interface Setting {
  readonly policy?: "accept" | "drop";
  readonly sets?: Readonly<Record<string, SetContent>>;
  readonly environment?: Partial<Environment>;
}
/** `accept`, `drop` or `unsure`, and of which rule of which chain. */
function outcome(
  chains: Chains,
  { policy = "accept", sets = {}, environment: more = {} }: Setting = {},
): string {
  const base: BaseChain = {
    family: "ip",
    table: "t",
    chain: "c",
    type: "filter",
    hook: "forward",
    priority: 0,
    policy,
  };
  const result = summary(runBase(ruleSet(chains, sets), base, entry(), { ...environment, ...more }));
  const where = result.kind === "unsure" ? result.because : result.by;
  return `${result.kind} by ${where.chain} ${where.rule === undefined ? "policy" : where.rule.handle}`;
}

describe("a chain", () => {
  test("ends with the first rule that matches and decides, else with its policy", () => {
    expect(outcome({ c: [] })).toBe("accept by c policy");
    expect(outcome({ c: [] }, { policy: "drop" })).toBe("drop by c policy");
    expect(outcome({ c: [[...source("10.9.0.0/16"), verdict("drop")]] })).toBe("accept by c policy");
    expect(outcome({ c: [[...source("10.60.0.0/16"), verdict("drop")], [verdict("accept")]] })).toBe(
      "drop by c 1",
    );
    expect(outcome({ c: [[...port(80), verdict("accept")], [verdict("drop")]] })).toBe("accept by c 1");
    expect(outcome({ c: [[...port(79, GREATER), verdict("drop")]] })).toBe("drop by c 1");
  });

  test("is left and come back to as the kernel does", () => {
    const inner = { side: [[...port(81), verdict("drop")], [verdict("return")], [verdict("drop")]] };
    expect(
      outcome({ c: [[verdict({ jump: "side" })], [verdict("accept")]], ...inner }, { policy: "drop" }),
    ).toBe("accept by c 2");
    expect(
      outcome({ c: [[verdict({ goto: "side" })], [verdict("accept")]], ...inner }, { policy: "drop" }),
    ).toBe("drop by c policy");
    expect(outcome({ c: [[verdict({ jump: "c" })]] })).toBe("unsure by c 1");
  });

  test("carries marks from one rule to the next", () => {
    expect(outcome({ c: [setMark(7), [...markIs(7), verdict("drop")]] })).toBe("drop by c 2");
    expect(outcome({ c: [setMark(6), [...markIs(7), verdict("drop")]] })).toBe("accept by c policy");
  });
});

describe("a rule that cannot be decided", () => {
  test("is named where it decides", () => {
    expect(outcome({ c: [[limit, verdict("drop")]] })).toBe("unsure by c 1");
    expect(outcome({ c: [[limit, verdict("accept")]] }, { policy: "drop" })).toBe("unsure by c 1");
    expect(outcome({ c: [[limit, verdict({ jump: "side" })]], side: [[verdict("drop")]] })).toBe(
      "unsure by c 1",
    );
  });

  test("does not matter where all that follows is the same", () => {
    expect(outcome({ c: [[limit, verdict("accept")]] })).toBe("accept by c 1");
    expect(outcome({ c: [[limit, verdict("drop")], [verdict("drop")]] })).toBe("drop by c 1");
    expect(outcome({ c: [[limit, { kind: "counter", packets: 0n, bytes: 0n }]] })).toBe("accept by c policy");
    expect(outcome({ c: [[limit, verdict({ jump: "side" })]], side: [[verdict("return")]] })).toBe(
      "accept by c policy",
    );
    expect(outcome({ c: [[...port(81), limit, verdict("drop")]] })).toBe("accept by c policy");
  });

  test("is the one that is named, and not one before it that changes nothing", () => {
    expect(
      outcome({
        c: [
          [limit, verdict("accept")],
          [limit, verdict("drop")],
        ],
      }),
    ).toBe("unsure by c 2");
    expect(outcome({ c: [[limit], [limit, verdict("drop")], [verdict("accept")]] })).toBe("unsure by c 2");
  });

  test("makes unknown what it perhaps sets", () => {
    const perhaps = [limit, ...setMark(7)];
    expect(outcome({ c: [perhaps, [...markIs(7), verdict("drop")]] })).toBe("unsure by c 2");
    // Of zero and seven no bit above the lowest three is doubtful.
    expect(outcome({ c: [perhaps, [...markIs(8), verdict("drop")]] })).toBe("accept by c policy");
  });

  test("is one that compares what the sender chooses", () => {
    const sport: readonly Expr[] = [
      { kind: "payload", base: "transport", offsetBytes: 0, lengthBytes: 2, into: 0 },
      { kind: "cmp", from: 0, op: "==", bytes: big16(80).bytes },
    ];
    expect(outcome({ c: [[...sport, verdict("drop")]] })).toBe("unsure by c 1");
  });

  test("is one with an expression that is not known, whatever else it says", () => {
    expect(outcome({ c: [[strange]] })).toBe("unsure by c 1");
    expect(outcome({ c: [[strange, verdict("accept")], [verdict("accept")]] })).toBe("unsure by c 1");
    expect(outcome({ c: [[...port(81), strange]] })).toBe("accept by c policy");
    expect(outcome({ c: [[opaque("target")]] })).toBe("unsure by c 1");
    expect(outcome({ c: [[opaque("match"), verdict("drop")]] })).toBe("unsure by c 1");
  });
});

describe("a set", () => {
  const member = (name: string, not?: true): readonly Expr[] =>
    statement({ member: ["ip saddr"], of: name, ...(not ? { not } : {}) });
  const addresses = (...of: readonly string[]): SetContent => ({
    fields: [4],
    elements: of.map((a) => ({ key: ip(a).bytes })),
  });

  test("has a key or has not", () => {
    const sets = { mine: addresses("10.60.0.1", "10.60.0.2"), other: addresses("10.60.0.1") };
    expect(outcome({ c: [[...member("mine"), verdict("drop")]] }, { sets })).toBe("drop by c 1");
    expect(outcome({ c: [[...member("other"), verdict("drop")]] }, { sets })).toBe("accept by c policy");
    expect(outcome({ c: [[...member("other", true), verdict("drop")]] }, { sets })).toBe("drop by c 1");
    expect(outcome({ c: [[...member("none"), verdict("drop")]] }, { sets })).toBe("unsure by c 1");
  });

  test("has ranges, an element for the rest, and elements with conditions", () => {
    const range = { fields: [4], elements: [{ key: ip("10.60.0.0").bytes, last: ip("10.60.0.255").bytes }] };
    expect(outcome({ c: [[...member("r"), verdict("drop")]] }, { sets: { r: range } })).toBe("drop by c 1");
    const rest = { fields: [4], elements: [{ key: new Uint8Array(0), catchAll: true as const }] };
    expect(outcome({ c: [[...member("r"), verdict("drop")]] }, { sets: { r: rest } })).toBe("drop by c 1");
    const conditional = {
      fields: [4],
      elements: [{ key: ip("10.60.0.2").bytes, conditional: true as const }],
    };
    expect(outcome({ c: [[...member("r"), verdict("drop")]] }, { sets: { r: conditional } })).toBe(
      "unsure by c 1",
    );
  });

  test("leads to chains by the verdicts of its elements", () => {
    const vmap = statement({ vmap: ["ip saddr"], map: "m" });
    const to = (data: "drop" | "accept" | { readonly jump: string }) => ({
      m: { fields: [4], elements: [{ key: ip("10.60.0.2").bytes, data }] },
    });
    expect(outcome({ c: [vmap] }, { sets: to("drop") })).toBe("drop by c 1");
    expect(outcome({ c: [vmap], side: [[verdict("drop")]] }, { sets: to({ jump: "side" }) })).toBe(
      "drop by side 1",
    );
    const elsewhere = {
      m: { fields: [4], elements: [{ key: ip("10.1.1.1").bytes, data: "drop" as const }] },
    };
    expect(outcome({ c: [vmap] }, { sets: elsewhere })).toBe("accept by c policy");
  });
});

describe("what a rule asks for", () => {
  const dropNew = { c: [[...state(NEW), verdict("drop")]] };

  test("is the connection's state", () => {
    expect(outcome(dropNew)).toBe("drop by c 1");
    expect(outcome(dropNew, { environment: { ct: { ...first, state: host32(2) } } })).toBe(
      "accept by c policy",
    );
    expect(outcome(dropNew, { environment: { ct: "unknown" } })).toBe("unsure by c 1");
  });

  test("is what routing says", () => {
    const local = { c: [[...statement({ fibType: "local" }), verdict("drop")]] };
    expect(outcome(local)).toBe("unsure by c 1");
    expect(outcome(local, { environment: { fib: () => host32(2) } })).toBe("drop by c 1");
    expect(outcome(local, { environment: { fib: () => host32(1) } })).toBe("accept by c policy");
  });

  test("is the interface by its name", () => {
    const of = (ifname: "iifname" | "oifname", is: string): Chains => ({
      c: [[...statement({ ifname, op: "==", is }), verdict("drop")]],
    });
    expect(outcome(of("iifname", "one0"))).toBe("drop by c 1");
    expect(outcome(of("oifname", "one0"))).toBe("accept by c policy");
  });
});

test("a translation ends a chain, and is told with where it leads", () => {
  const sets = {
    m: { fields: [4], elements: [{ key: ip("10.60.0.2").bytes, data: ip("192.0.2.1").bytes }] },
  };
  const snat = statement({ nat: "snat", family: "ip", by: ["ip saddr"], map: "m" });
  const base: BaseChain = {
    family: "ip",
    table: "t",
    chain: "c",
    type: "nat",
    hook: "postrouting",
    priority: 100,
    policy: "accept",
  };
  const result = summary(
    runBase(ruleSet({ c: [snat, [verdict("drop")]] }, sets), base, entry(), environment),
  );
  expect(result).toMatchObject({
    kind: "accept",
    state: { translation: { kind: "to", which: "snat", address: known(ip("192.0.2.1").bytes) } },
  });
});
