/**
 * Messages of Protocol Buffers (proto3), declared by hand for the few that a test needs. Fields that a declaration does not
 * name are passed over, so that a newer peer is understood.
 */

/** How a value travels: as a number of variable length (wire type 0), or as bytes with their length (2). */
export interface Kind<T> {
  readonly wire: 0 | 2;
  pack(value: T): bigint | Uint8Array;
  unpack(raw: bigint | Uint8Array): T;
}
interface Field<T> {
  readonly number: number;
  put(value: T): readonly Uint8Array[];
  /** The value after one more occurrence. */
  take(before: T | undefined, raw: bigint | Uint8Array): T;
}
type Fields = Readonly<Record<string, Field<unknown>>>;
type Value<F> = { readonly [K in keyof F]?: F[K] extends Field<infer T> ? T | undefined : never };
export type Message<K> = K extends Kind<infer T> ? T : never;

const utf8 = new TextEncoder();
const bytesOf = (raw: bigint | Uint8Array): Uint8Array => (typeof raw === "bigint" ? new Uint8Array() : raw);
const numberOf = (raw: bigint | Uint8Array): bigint => (typeof raw === "bigint" ? raw : 0n);

export const text: Kind<string> = {
  wire: 2,
  pack: (value) => utf8.encode(value),
  unpack: (raw) => new TextDecoder().decode(bytesOf(raw)),
};
/** Every integer below 2^53, and enumerations. */
export const int: Kind<number> = {
  wire: 0,
  pack: (value) => BigInt.asUintN(64, BigInt(value)),
  unpack: (raw) => Number(BigInt.asIntN(64, numberOf(raw))),
};
export const bool: Kind<boolean> = {
  wire: 0,
  pack: (value) => (value ? 1n : 0n),
  unpack: (raw) => numberOf(raw) !== 0n,
};

export const one = <T>(number: number, kind: Kind<T>): Field<T> => ({
  number,
  put: (value) => [tagged(number, kind.wire, kind.pack(value))],
  take: (_, raw) => kind.unpack(raw),
});
export const many = <T>(number: number, kind: Kind<T>): Field<readonly T[]> => ({
  number,
  put: (values) => values.map((value) => tagged(number, kind.wire, kind.pack(value))),
  take: (before = [], raw) => [...before, kind.unpack(raw)],
});
/** `map<string, string>`. */
export const map = (number: number): Field<Readonly<Record<string, string>>> => ({
  number,
  put: (values) =>
    Object.entries(values).map(([key, value]) => tagged(number, 2, entry.pack({ key, value }))),
  take: (before = {}, raw) => {
    const { key = "", value = "" } = entry.unpack(raw);
    return { ...before, [key]: value };
  },
});

export function message<F extends Fields>(fields: F): Kind<Value<F>> {
  const byNumber = new Map(
    Object.entries(fields).map(([name, field]) => [field.number, [name, field]] as const),
  );
  return {
    wire: 2,
    pack: (value) =>
      Buffer.concat(
        Object.entries(value).flatMap(([name, v]) => (v === undefined ? [] : (fields[name]?.put(v) ?? []))),
      ),
    unpack: (raw) => {
      const value: Record<string, unknown> = {};
      for (const [number, one] of occurrences(bytesOf(raw))) {
        const [name, field] = byNumber.get(number) ?? [];
        if (name !== undefined) value[name] = field?.take(value[name], one);
      }
      return value as Value<F>;
    },
  };
}

const entry = message({ key: one(1, text), value: one(2, text) });

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return Uint8Array.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

function tagged(number: number, wire: 0 | 2, value: bigint | Uint8Array): Uint8Array {
  const tag = varint(BigInt((number << 3) | wire));
  return typeof value === "bigint"
    ? Buffer.concat([tag, varint(value)])
    : Buffer.concat([tag, varint(BigInt(value.length)), value]);
}

/** Each field as it stands in the bytes; those of a fixed width, which no declaration can name, are left out. */
function* occurrences(bytes: Uint8Array): Generator<readonly [number, bigint | Uint8Array]> {
  let at = 0;
  const next = (): bigint => {
    for (let value = 0n, shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("a message ends inside of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(next());
    const wire = tag & 7;
    if (wire === 0) yield [tag >> 3, next()];
    else if (wire === 2) {
      const end = Number(next()) + at;
      if (end > bytes.length) throw new Error("a message ends inside of a field");
      yield [tag >> 3, bytes.subarray(at, end)];
      at = end;
    } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4;
    else throw new Error(`wire type ${wire} is not of proto3`);
  }
}
