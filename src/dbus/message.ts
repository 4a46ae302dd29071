import { DecodeError } from "../wire/attrs.ts";
import { viewOf } from "../wire/fixed.ts";

/**
 * Messages of D-Bus (D-Bus Specification 0.43, "Message Protocol"): calls with strings as arguments, and answers of
 * basic types. What a call of ours never needs is refused by name instead of being half understood.
 */
export interface MethodCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Each is a string (`s`). */
  readonly args: readonly string[];
}

/** A value of a basic type, or a list of them. */
export type BusValue = string | number | boolean | readonly BusValue[];

export interface BusMessage {
  readonly kind: "call" | "return" | "error" | "signal";
  /** The number of the call that this answers; 0 for others. */
  readonly replyTo: number;
  /** Of an error. */
  readonly errorName: string;
  readonly values: readonly BusValue[];
}

/** Kinds by their number, "Message Types". */
const kinds = ["", "call", "return", "error", "signal"] as const;
const METHOD_CALL = 1;
/** A service that does not run is not started by being asked. */
const NO_AUTO_START = 0x2;
const VERSION = 1;
const LITTLE = 0x6c;
const BIG = 0x42;
/** The fixed part of a header, and of the length of its fields. */
const FIXED = 16;
/** Specified: 128 MiB. Nothing that is asked here has an answer of this size. */
const MOST_BYTES = 1024 * 1024;

const field = {
  path: 1,
  interface: 2,
  member: 3,
  errorName: 4,
  replySerial: 5,
  destination: 6,
  signature: 8,
};

const align = (n: number, to: number): number => Math.ceil(n / to) * to;
const encoder = new TextEncoder();

/** Writes little endian, each value at its alignment. */
class Writer {
  readonly #bytes: number[] = [];
  get length(): number {
    return this.#bytes.length;
  }
  pad(to: number): void {
    while (this.#bytes.length % to !== 0) this.#bytes.push(0);
  }
  u8(n: number): void {
    this.#bytes.push(n & 0xff);
  }
  u32(n: number): void {
    this.pad(4);
    this.#bytes.push(n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24);
  }
  /** A string or the path of an object. */
  text(s: string): void {
    const bytes = encoder.encode(s);
    this.u32(bytes.length);
    this.#bytes.push(...bytes, 0);
  }
  signature(s: string): void {
    this.#bytes.push(s.length, ...encoder.encode(s), 0);
  }
  setU32(at: number, n: number): void {
    this.#bytes.splice(at, 4, n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24);
  }
  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

export function encodeCall(call: MethodCall, serial: number): Uint8Array {
  const body = new Writer();
  for (const arg of call.args) body.text(arg);
  const w = new Writer();
  for (const n of [LITTLE, METHOD_CALL, NO_AUTO_START, VERSION]) w.u8(n);
  w.u32(body.length);
  w.u32(serial);
  w.u32(0);
  const entry = (code: number, type: string, value: string): void => {
    w.pad(8);
    w.u8(code);
    w.signature(type);
    if (type === "g") w.signature(value);
    else w.text(value);
  };
  entry(field.path, "o", call.path);
  entry(field.interface, "s", call.interface);
  entry(field.member, "s", call.member);
  entry(field.destination, "s", call.destination);
  if (call.args.length > 0) entry(field.signature, "g", "s".repeat(call.args.length));
  w.setU32(12, w.length - FIXED);
  w.pad(8);
  const head = w.toBytes();
  const out = new Uint8Array(head.length + body.length);
  out.set(head);
  out.set(body.toBytes(), head.length);
  return out;
}

/** How many bytes the message has that begins here; undefined if its header is not there yet. Throws `DecodeError`. */
export function messageBytes(b: Uint8Array): number | undefined {
  if (b.length < FIXED) return undefined;
  const little = orderOf(b);
  const view = viewOf(b);
  const total = align(FIXED + view.getUint32(12, little), 8) + view.getUint32(4, little);
  if (total > MOST_BYTES) throw new DecodeError(`D-Bus: a message of ${total} bytes`);
  return total;
}

function orderOf(b: Uint8Array): boolean {
  if (b[0] !== LITTLE && b[0] !== BIG) throw new DecodeError(`D-Bus: no byte order is called ${b[0] ?? ""}`);
  return b[0] === LITTLE;
}

/** One whole message. Throws `DecodeError`. */
export function decodeMessage(b: Uint8Array): BusMessage {
  const total = messageBytes(b);
  if (total === undefined || b.length < total) throw new DecodeError("D-Bus: a message cut short");
  const kind = kinds[b[1] ?? 0];
  if (kind === undefined || kind === "") throw new DecodeError(`D-Bus: a message of type ${b[1] ?? ""}`);
  const little = orderOf(b);
  const end = FIXED + viewOf(b).getUint32(12, little);
  const r: Reader = { view: viewOf(b), little, at: FIXED, end };
  const fields = new Map<number, BusValue>();
  while (r.at < end) {
    r.at = align(r.at, 8);
    const code = take(r, "y");
    fields.set(Number(code), take(r, String(take(r, "g"))));
  }
  const body: Reader = { view: viewOf(b), little, at: align(end, 8), end: total };
  // What a signal tells is nothing that was asked for.
  const signature = kind === "signal" || kind === "call" ? "" : String(fields.get(field.signature) ?? "");
  return {
    kind,
    replyTo: Number(fields.get(field.replySerial) ?? 0),
    errorName: String(fields.get(field.errorName) ?? ""),
    values: typesOf(signature).map((type) => take(body, type)),
  };
}

interface Reader {
  readonly view: DataView;
  readonly little: boolean;
  at: number;
  readonly end: number;
}

/** Sizes of the types that are numbers, which are aligned to themselves. */
const numeric: Readonly<Record<string, number>> = { y: 1, b: 4, i: 4, u: 4, n: 2, q: 2 };

/** Splits a signature into its complete types: `sas` is `s` and `as`. */
function typesOf(signature: string): string[] {
  const types: string[] = [];
  let open = "";
  for (const c of signature) {
    open += c;
    if (c === "a") continue;
    types.push(open);
    open = "";
  }
  return types;
}

function take(r: Reader, type: string): BusValue {
  if (type.startsWith("a")) return takeList(r, type.slice(1));
  const size = numeric[type];
  if (size !== undefined) {
    const n = takeNumber(r, size, type === "i" || type === "n");
    return type === "b" ? n !== 0 : n;
  }
  if (type === "g") return takeText(r, takeNumber(r, 1, false));
  if (type === "s" || type === "o") return takeText(r, takeNumber(r, 4, false));
  throw new DecodeError(`D-Bus: a value of type "${type}" was not expected`);
}

function takeNumber(r: Reader, size: number, signed: boolean): number {
  const at = align(r.at, size);
  if (at + size > r.end) throw new DecodeError("D-Bus: a number cut short");
  r.at = at + size;
  if (size === 1) return r.view.getUint8(at);
  if (size === 2) return signed ? r.view.getInt16(at, r.little) : r.view.getUint16(at, r.little);
  return signed ? r.view.getInt32(at, r.little) : r.view.getUint32(at, r.little);
}

const decoder = new TextDecoder();

function takeText(r: Reader, length: number): string {
  const { at } = r;
  if (at + length + 1 > r.end) throw new DecodeError("D-Bus: a text cut short");
  r.at = at + length + 1;
  return decoder.decode(new Uint8Array(r.view.buffer, r.view.byteOffset + at, length));
}

function takeList(r: Reader, of: string): BusValue[] {
  const length = takeNumber(r, 4, false);
  const end = r.at + length;
  if (end > r.end) throw new DecodeError("D-Bus: a list cut short");
  const items: BusValue[] = [];
  const inner: Reader = { ...r, end };
  while (inner.at < end) items.push(take(inner, of));
  r.at = end;
  return items;
}
