/**
 * One rule and one packet: its instructions in order, as far as the packet passes them. Where it cannot be told whether it
 * does, the packet goes both ways: past the rule, and on in it.
 */
import type { MatchTest, Ports } from "../foreign/compat.ts";
import { instructionOf } from "../foreign/decode.ts";
import { type Instruction, isLoad, type Load, type NatInstruction } from "../foreign/instruction.ts";
import type { RuleInfo } from "../model.ts";
import type { Verdict } from "../verdict.ts";
import {
  asHost32,
  big16,
  type Bits,
  both,
  equals,
  host32,
  isGreater,
  isLess,
  between,
  known,
  maskXor,
  not,
  slice,
  splice,
  type Truth,
  unknown,
} from "./bits.ts";
import { familyOf, portsOf } from "./packet.ts";
import { type Loaded, loadCt, loadFib, loadMeta, loadPayload } from "./registers.ts";
import { lookUp, type SetContent, type SetElement } from "./rule-set.ts";
import { type Environment, type State, type Translation, type Where } from "./state.ts";

export interface RuleInput {
  readonly rule: RuleInfo;
  readonly where: Where;
  readonly state: State;
  readonly env: Environment;
  set(name: string): SetContent | undefined;
}

export interface Applied {
  /** States in which the packet goes on with the next rule; none: it never does. */
  readonly past: readonly State[];
  readonly verdicts: readonly { readonly verdict: Verdict | "reject" | "unknown"; readonly state: State }[];
  /** What cannot be told of the rule, if that is why there are several. */
  readonly why?: string;
}

/** Sixteen registers of four bytes. */
const REGISTER_BYTES = 64;
const at = (register: number): number => register * 4;

/** A packet inside of a rule. */
interface Inside extends RuleInput {
  registers: Bits;
  state: State;
  /** What has been put into registers, in words, by register. */
  why: string | undefined;
  readonly past: State[];
  readonly verdicts: { readonly verdict: Verdict | "reject" | "unknown"; readonly state: State }[];
  /** It has left the rule. */
  done: boolean;
}

export function applyRule(input: RuleInput): Applied {
  const inside: Inside = {
    ...input,
    registers: unknown(REGISTER_BYTES),
    why: undefined,
    past: [],
    verdicts: [],
    done: false,
  };
  for (const expression of input.rule.expressions) {
    if (inside.done) break;
    execute(inside, instructionOf(expression));
  }
  if (!inside.done) inside.past.push(inside.state);
  const { past, verdicts, why } = inside;
  // A rule that counts or logs some of the packets changes nothing.
  const idle = verdicts.length === 0 && past.every((s) => changesNothing(s, input.state));
  if (idle) return { past: [input.state], verdicts };
  return { past, verdicts, ...(why === undefined ? {} : { why }) };
}

const changesNothing = (a: State, b: State): boolean =>
  a.mark === b.mark && a.ctMark === b.ctMark && a.untracked === b.untracked;

function test(inside: Inside, truth: Truth, why: string): void {
  if (truth === true) return;
  if (truth === false) {
    inside.past.push(inside.state);
    inside.done = true;
    return;
  }
  inside.why ??= why;
  const { state, where } = inside;
  const doubts =
    state.doubts.at(-1)?.rule === where.rule ? state.doubts : [...state.doubts, { ...where, why }];
  inside.state = { ...state, doubts };
  inside.past.push(inside.state);
}

const end = (inside: Inside, verdict: Verdict | "reject" | "unknown"): void => {
  if (verdict === "continue") inside.past.push(inside.state);
  else inside.verdicts.push({ verdict, state: inside.state });
  inside.done = true;
};

function load(inside: Inside, into: number, value: Loaded, length: number, what: string): void {
  if (value === "absent") return test(inside, false, what);
  const bits = value === "maybe" ? unknown(length) : value;
  if (value === "maybe") test(inside, undefined, `${what} is not known`);
  put(inside, into, bits);
}

/** What is shorter than its last register is followed by zeros. */
function put(inside: Inside, into: number, bits: Bits): void {
  const padding = (4 - (bits.bytes.length % 4)) % 4;
  inside.registers = splice(inside.registers, at(into), bits);
  if (padding > 0)
    inside.registers = splice(inside.registers, at(into) + bits.bytes.length, known(new Uint8Array(padding)));
}

const read = ({ registers }: Inside, register: number, length: number): Bits =>
  slice(registers, at(register), length);

/** Lengths that do not follow from a value. */
const LONGEST = 16;

function loadInto(inside: Inside, e: Load): void {
  const { state, env } = inside;
  switch (e.kind) {
    case "payload":
      return load(inside, e.into, loadPayload(e, state), e.lengthBytes, `the ${e.base} header`);
    case "meta":
      return load(inside, e.into, loadMeta(e, state, env), LONGEST, `meta ${e.key}`);
    case "ct":
      return load(inside, e.into, loadCt(e, state, env), LONGEST, `ct ${e.key}`);
    case "fib":
      return load(inside, e.into, loadFib(e, state, env), LONGEST, "what routing says");
    case "load unknown":
      return load(inside, e.into, "maybe", LONGEST, e.text);
    case "constant":
      return put(inside, e.into, known(e.bytes));
    case "bitwise": {
      const bits = read(inside, e.from, e.mask.length);
      return put(inside, e.into, maskXor(bits, e.mask, e.xor ?? new Uint8Array(e.mask.length)));
    }
    case "byteorder":
      return put(inside, e.into, swapped(read(inside, e.from, e.lengthBytes), e.sizeBytes));
  }
}

function execute(inside: Inside, e: Instruction): void {
  if (isLoad(e)) return loadInto(inside, e);
  if (isChange(e)) return change(inside, e);
  switch (e.kind) {
    case "cmp":
      return test(inside, compare(read(inside, e.from, e.bytes.length), e.op, e.bytes), UNKNOWN_VALUE);
    case "range": {
      const within = between(read(inside, e.from, e.low.length), e.low, e.high);
      return test(inside, e.not ? not(within) : within, UNKNOWN_VALUE);
    }
    case "lookup":
      return lookup(inside, e);
    case "test unknown":
      return test(inside, undefined, e.text);
    case "immediate":
      return end(inside, e.verdict);
    case "reject":
      return end(inside, "reject");
    case "counter":
    case "aside":
      return;
    case "match":
      return test(inside, matchOf(e.test, inside), `iptables match ${e.name}`);
  }
}

const UNKNOWN_VALUE = "what it compares is not known";

type Change = Extract<
  Instruction,
  { kind: "set meta" | "set ct" | "notrack" | "nat" | "masq" | "redirect" | "target" | "opaque" }
>;
const changes: readonly Instruction["kind"][] = [
  "set meta",
  "set ct",
  "notrack",
  "nat",
  "masq",
  "redirect",
  "target",
  "opaque",
] satisfies readonly Change["kind"][];
const isChange = (e: Instruction): e is Change => changes.includes(e.kind);

/** Instructions that change something, or may. */
function change(inside: Inside, e: Change): void {
  const { state } = inside;
  switch (e.kind) {
    case "set meta":
      if (e.key === "mark") inside.state = { ...state, mark: read(inside, e.from, 4) };
      return;
    case "set ct":
      if (e.key === "mark") inside.state = { ...state, ctMark: read(inside, e.from, 4) };
      else if (e.key === "zone") end(inside, "unknown");
      return;
    case "notrack":
      inside.state = { ...state, untracked: true };
      return;
    case "nat":
      return nat(inside, e);
    case "masq":
      return translate(inside, {
        kind: "masquerade",
        ...(e.random ? { port: unknown(2) } : portIn(inside, e.port)),
      });
    case "redirect":
      return translate(inside, {
        kind: "redirect",
        ...(e.portMax === undefined ? portIn(inside, e.port) : { port: unknown(2) }),
      });
    case "target":
      return target(inside, e);
    case "opaque":
      // Whether it ends the rule, and how, is not known.
      inside.why ??= `expression ${e.name}`;
      inside.verdicts.push({ verdict: "unknown", state });
      return test(inside, undefined, `expression ${e.name}`);
  }
}

function swapped(b: Bits, size: number): Bits {
  const order = (from: Uint8Array): Uint8Array =>
    from.map((_, i) => from[i - (i % size) + (size - 1 - (i % size))] ?? 0);
  return { bytes: order(b.bytes), known: order(b.known) };
}

function compare(b: Bits, op: Extract<Instruction, { kind: "cmp" }>["op"], bytes: Uint8Array): Truth {
  switch (op) {
    case "==":
      return equals(b, bytes);
    case "!=":
      return not(equals(b, bytes));
    case "<":
      return isLess(b, bytes);
    case "<=":
      return not(isGreater(b, bytes));
    case ">":
      return isGreater(b, bytes);
    case ">=":
      return not(isLess(b, bytes));
  }
}

function lookup(inside: Inside, e: Extract<Instruction, { kind: "lookup" }>): void {
  const set = inside.set(e.set);
  if (set === undefined) return end(inside, "unknown");
  const length = set.fields.reduce(
    (n, field, i) => n + (i === set.fields.length - 1 ? field : (field + 3) & ~3),
    0,
  );
  const found = lookUp(set, read(inside, e.from, set.fields.length > 1 ? (length + 3) & ~3 : length));
  const why = `what it looks up in @${e.set} is not known`;
  if (e.into === undefined) {
    const truth = found.kind === "unsure" ? (found.absent ? undefined : true) : found.kind === "found";
    return test(inside, e.not ? not(truth) : truth, why);
  }
  const candidates =
    found.kind === "found" ? [found.element] : found.kind === "unsure" ? found.candidates : [];
  if (candidates.length === 0) return test(inside, false, why);
  if (found.kind === "unsure") test(inside, undefined, why);
  const into = e.into;
  if (into === "verdict") {
    // The state may go on unchanged in one of several ways.
    for (const { data } of candidates) endWith(inside, data);
    inside.done = true;
    return;
  }
  const values = candidates.map(({ data }) => valueOf(data));
  const [first = unknown(LONGEST)] = values;
  const value = values.length === 1 ? first : unknown(first.bytes.length);
  put(inside, into, value);
}

const valueOf = (data: SetElement["data"]): Bits =>
  data instanceof Uint8Array ? known(data) : unknown(LONGEST);

function endWith(inside: Inside, data: SetElement["data"]): void {
  if (data === undefined || data instanceof Uint8Array || (typeof data === "object" && "opaque" in data))
    end(inside, "unknown");
  else end(inside, data);
}

const portIn = (inside: Inside, register: number | undefined): { readonly port?: Bits } =>
  register === undefined ? {} : { port: read(inside, register, 2) };

function translate(inside: Inside, translation: Translation): void {
  inside.state = { ...inside.state, translation: { ...translation, by: inside.where } };
  end(inside, "accept");
}

function nat(inside: Inside, e: NatInstruction): void {
  const family = familyOf(inside.state.packet);
  if (family !== (e.family === "ip" ? 4 : 6)) return;
  const bytes = family === 4 ? 4 : 16;
  const address =
    e.address === undefined
      ? undefined
      : e.addressMax === undefined
        ? read(inside, e.address, bytes)
        : unknown(bytes);
  const drawn = e.random === true || e.portMax !== undefined;
  const port = drawn ? unknown(2) : e.port === undefined ? undefined : read(inside, e.port, 2);
  translate(inside, {
    kind: "to",
    which: e.type,
    ...(address ? { address } : {}),
    ...(port ? { port } : {}),
  });
}

function target(inside: Inside, { name, does }: Extract<Instruction, { kind: "target" }>): void {
  const { state } = inside;
  switch (does.is) {
    case "aside":
      return;
    case "reject":
      return end(inside, "reject");
    case "masquerade":
      return translate(inside, { kind: "masquerade", ...(does.random ? { port: unknown(2) } : {}) });
    case "mark": {
      const keep = new Uint8Array(host32(~does.mask >>> 0).bytes);
      inside.state = { ...state, mark: maskXor(state.mark, keep, host32(does.value).bytes) };
      return;
    }
    case "notrack":
      inside.state = { ...state, untracked: true };
      return;
    case "blur marks":
      inside.state = { ...state, mark: unknown(4), ctMark: unknown(4), blur: { ...inside.where, why: name } };
      return;
    case "snat":
    case "dnat": {
      const bytes = familyOf(state.packet) === 6 ? 16 : 4;
      const address = does.address && (does.range ? unknown(bytes) : known(does.address.slice(0, bytes)));
      const drawn = does.range || does.random;
      const port =
        does.port === undefined && !does.random ? undefined : drawn ? unknown(2) : big16(does.port ?? 0);
      const to = { ...(address ? { address } : {}), ...(port ? { port } : {}) };
      return translate(inside, { kind: "to", which: does.is, ...to });
    }
    case "unknown":
      inside.why ??= `iptables target ${name}`;
      inside.verdicts.push({ verdict: "unknown", state });
      return test(inside, undefined, `iptables target ${name}`);
  }
}

function matchOf(e: MatchTest, { state, env }: Inside): Truth {
  switch (e.is) {
    case "always":
      return true;
    case "unknown":
      return undefined;
    case "mark": {
      const masked = maskXor(state.mark, host32(e.mask).bytes, new Uint8Array(4));
      const truth = equals(masked, host32(e.value).bytes);
      return e.invert ? not(truth) : truth;
    }
    case "state": {
      const loaded = loadCt({ kind: "ct", key: "state", into: 0 }, state, env);
      if (typeof loaded === "string") return undefined;
      const none = equals(maskXor(loaded, host32(e.bits).bytes, new Uint8Array(4)), new Uint8Array(4));
      return e.invert ? none : not(none);
    }
    case "address type": {
      const source = addressTypeOf("saddr", e.source, e.invertSource, { state, env });
      return both(source, addressTypeOf("daddr", e.destination, e.invertDestination, { state, env }));
    }
    case "ports":
      return portsMatch(e, state);
  }
}

/** Bits of RTN_*: one of them is the type of the address. */
function addressTypeOf(
  of: "saddr" | "daddr",
  types: number,
  invert: boolean,
  { state, env }: Pick<Inside, "state" | "env">,
): Truth {
  if (types === 0) return true;
  const answer = env.fib({ of, result: "type", flags: 0 }, state.packet);
  const type = answer && asHost32(answer);
  return type === undefined ? undefined : ((types >> type) & 1) !== (invert ? 1 : 0);
}

function portsMatch(e: Extract<MatchTest, { is: "ports" }>, { packet }: State): Truth {
  if (packet.protocol === undefined || !e.protocols.includes(packet.protocol)) return false;
  const ports = portsOf(packet);
  if (ports === undefined) return undefined;
  const among = (ask: Ports | undefined, ...of: readonly Bits[]): Truth => {
    if (ask === undefined) return true;
    const hits = of.flatMap((port) =>
      ask.ranges.map(([low, high]) => between(port, big16(low).bytes, big16(high).bytes)),
    );
    const hit = hits.includes(true) ? true : hits.includes(undefined) ? undefined : false;
    return ask.invert ? not(hit) : hit;
  };
  return both(
    both(among(e.source, ports.source), among(e.destination, ports.destination)),
    among(e.either, ports.source, ports.destination),
  );
}
