import { type Fixed, viewOf } from "./fixed.ts";

/**
 * Tables of netlink attributes (`struct nlattr`, linux/netlink.h). One declaration gives the decoder, the encoder
 * and the static type. Attributes that nobody listed are kept byte for byte and written back.
 */
export interface Attr<T> {
  decode(bytes: Uint8Array): T;
  encode(value: T): Uint8Array;
  /** Bits of the type field that this payload wants: `NLA_F_NESTED` for a table. */
  readonly flags?: number;
  /** True if the attribute may stand several times in one table; the value is then the list. */
  readonly repeated?: true;
}

export interface UnknownAttr {
  readonly type: number;
  /** The two high bits of the type field: nested, and network byte order. */
  readonly flags: number;
  readonly bytes: Uint8Array;
}

/** The only error of this layer. `message` names the path: `NDA.probes: expected 4 bytes, got 2`. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
}

// As in `Fields`: the bound has to admit the codec of every value.
// oxlint-disable-next-line no-explicit-any
type Table = Readonly<Record<string, readonly [type: number, codec: Attr<any>]>>;
export type AttrValue<A> = A extends { decode(bytes: Uint8Array): infer V } ? V : never;
type AttrsOf<T extends Table> = {
  -readonly [K in keyof T]?: AttrValue<T[K][1]>;
} & { unknown?: readonly UnknownAttr[] };

/** NLA_HDRLEN, NLA_F_NESTED and NLA_TYPE_MASK (linux/netlink.h). */
const HEADER = 4;
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

/** NLA_ALIGN and NLMSG_ALIGN: to the next multiple of four. */
export const align4 = (n: number): number => (n + 3) & ~3;

/** One attribute with its header and padding. */
function writeAttr(out: Uint8Array, at: number, type: number, payload: Uint8Array): number {
  if (HEADER + payload.length > 0xffff)
    throw new RangeError(`attribute ${type & TYPE_MASK} is longer than 65535 bytes`);
  const v = viewOf(out);
  v.setUint16(at, HEADER + payload.length, true);
  v.setUint16(at + 2, type, true);
  out.set(payload, at + HEADER);
  return at + align4(HEADER + payload.length);
}

interface Index {
  readonly entries: readonly (readonly [key: string, type: number, codec: Attr<unknown>])[];
  readonly byType: ReadonlyMap<number, readonly [key: string, type: number, codec: Attr<unknown>]>;
}

function indexOf(name: string, table: Table): Index {
  const entries = Object.keys(table).map((key) => {
    const [type, codec] = table[key] as Table[string];
    return [key, type, codec as Attr<unknown>] as const;
  });
  const byType = new Map(entries.map((entry) => [entry[1], entry]));
  if (byType.size !== entries.length) throw new RangeError(`${name}: two attributes share a number`);
  return { entries, byType };
}

/**
 * A table of attributes. Numbers are explicit; two names with one number fail at the first use. A table is indexed
 * when it is used and not before: a short process uses few of the tables that it loads.
 */
export function attrs<const T extends Table>(
  name: string,
  table: T,
): Attr<AttrsOf<T>> & { readonly flags: number; readonly table: T } {
  let index: Index | undefined;
  return {
    flags: NESTED,
    table,
    decode(b) {
      const { byType } = (index ??= indexOf(name, table));
      const v = viewOf(b);
      const out: Record<string, unknown> = {};
      const unknown: UnknownAttr[] = [];
      for (let at = 0; at < b.length;) {
        if (b.length - at < HEADER)
          throw new DecodeError(`${name}: ${b.length - at} stray bytes at offset ${at}`);
        const length = v.getUint16(at, true);
        const raw = v.getUint16(at + 2, true);
        const type = raw & TYPE_MASK;
        const end = at + length;
        if (length < HEADER || end > b.length)
          throw new DecodeError(`${name}: attribute ${type} at offset ${at} claims ${length} bytes`);
        const known = byType.get(type);
        if (known === undefined)
          unknown.push({ type, flags: raw & ~TYPE_MASK, bytes: b.slice(at + HEADER, end) });
        else put(out, name, known, b.subarray(at + HEADER, end));
        at += align4(length);
      }
      if (unknown.length > 0) out["unknown"] = unknown;
      return out as AttrsOf<T>;
    },
    encode(value) {
      const { entries } = (index ??= indexOf(name, table));
      const parts: [number, Uint8Array][] = [];
      for (const [key, type, codec] of entries) {
        const x = (value as Record<string, unknown>)[key];
        if (x === undefined) continue;
        for (const one of codec.repeated ? (x as unknown[]).map((y) => [y]) : [x])
          parts.push([type | (codec.flags ?? 0), codec.encode(one)]);
      }
      for (const u of value.unknown ?? []) parts.push([u.type | u.flags, u.bytes]);
      const out = new Uint8Array(parts.reduce((n, [, b]) => n + align4(HEADER + b.length), 0));
      let at = 0;
      for (const [type, b] of parts) at = writeAttr(out, at, type, b);
      return out;
    },
  };
}

/** Decodes one attribute into the field of its name; a repeated one is added to those before it. */
function put(
  out: Record<string, unknown>,
  name: string,
  [key, , codec]: Index["entries"][number],
  body: Uint8Array,
): void {
  let value: unknown;
  try {
    value = codec.decode(body);
  } catch (cause) {
    throw new DecodeError(`${name}.${key}: ${(cause as Error).message}`, { cause });
  }
  out[key] = codec.repeated ? [...((out[key] as unknown[]) ?? []), ...(value as unknown[])] : value;
}

/** A payload that is one fixed value. */
export function fixedAttr<T>(codec: Fixed<T>): Attr<T> {
  return {
    decode(b) {
      if (b.length !== codec.size) throw new DecodeError(`expected ${codec.size} bytes, got ${b.length}`);
      return codec.get(viewOf(b), 0);
    },
    encode(x) {
      const b = new Uint8Array(codec.size);
      codec.set(viewOf(b), 0, x);
      return b;
    },
  };
}

/** An attribute that may stand several times in one table: `altNames: [53, repeated(cstr)]`. */
export const repeated = <T>(codec: Attr<T>): Attr<readonly T[]> => ({
  ...(codec.flags === undefined ? {} : { flags: codec.flags }),
  repeated: true,
  decode: (b) => [codec.decode(b)],
  encode: ([x]) => codec.encode(x as T),
});

/** A nested list whose members all carry the same number, as `NFTA_LIST_ELEM` and `NFTA_HOOK_DEVS`. */
export function listOf<T>(name: string, type: number, codec: Attr<T>): Attr<readonly T[]> {
  const table = attrs(name, { item: [type, repeated(codec)] });
  return {
    flags: NESTED,
    decode: (b) => (table.decode(b) as { item?: readonly T[] }).item ?? [],
    encode: (items) => table.encode({ item: items }),
  };
}

/** Raw bytes; what is decoded is a copy. */
export const bytes: Attr<Uint8Array> = { decode: (b) => b.slice(), encode: (b) => b };

/** A present attribute without a payload. */
export const flag: Attr<true> = { decode: () => true, encode: () => new Uint8Array(0) };

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** A string that ends with a zero byte. */
export const cstr: Attr<string> = {
  decode: (b) => decoder.decode(b.subarray(0, b.indexOf(0) < 0 ? b.length : b.indexOf(0))),
  encode: (s) => encoder.encode(`${s}\0`),
};
