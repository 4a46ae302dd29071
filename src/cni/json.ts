/**
 * Reading JSON objects the way every CNI program does: keys match without regard to case, `null` is the same as
 * absent, unknown keys are kept out of the way. A decoder is a function of a value and its path; small decoders
 * make larger ones, so that a plugin's parser is a table and its errors name the key.
 *
 *     const readConfig = object({ bridge: text, mtu: integer({ min: 0 }), ipam: required(object({ type: text })) });
 *     const config = readConfig(conf.raw, "");   // { bridge?: string, mtu?: number, ipam: { type?: string } }
 */
import { NetError } from "../errors.ts";
import type { Parsed } from "../net/brand.ts";

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Lower case as simple Unicode folding sees ASCII: the long s and the Kelvin sign are letters of ours too. */
export const fold = (key: string): string =>
  key.replaceAll("\u017f", "s").replaceAll("\u212a", "k").toLowerCase();

/**
 * The values of the known keys under their own spelling. An exact key wins over one of another case; among
 * several of those the last wins. `null` counts as absent. Keys that are not known are left out.
 */
export function foldKeys<K extends string>(
  raw: JsonObject,
  known: readonly K[],
): { readonly [P in K]?: unknown } {
  const found: { [P in K]?: unknown } = {};
  let folded: Map<string, unknown> | undefined;
  for (const key of known) {
    let value: unknown;
    if (Object.hasOwn(raw, key)) value = raw[key];
    else {
      folded ??= new Map(Object.keys(raw).map((k) => [fold(k), raw[k]]));
      value = folded.get(fold(key));
    }
    if (value !== undefined && value !== null) found[key] = value;
  }
  return found;
}

/** The object without the keys that equal one of `names` but for case. */
export function withoutKeys(raw: JsonObject, names: readonly string[]): Record<string, unknown> {
  const unwanted = new Set(names.map(fold));
  return Object.fromEntries(Object.entries(raw).filter(([key]) => !unwanted.has(fold(key))));
}

/** Turns a value into a `T` or throws config/invalid with `at`, the path of the value. */
export interface Decode<T> {
  (value: unknown, at: string): T;
  /** What the decoder reads inside its value. Absent: the value is one to it, or has keys that it does not know. */
  readonly inner?: Inner;
}
/** So that a decoder can be asked which keys it knows: one truth for reading, validating and documenting. */
export type Inner =
  | { readonly kind: "object"; readonly fields: Shape }
  | { readonly kind: "list"; readonly item: Decode<unknown> };

const withInner = <T>(decode: (value: unknown, at: string) => T, inner: Inner | undefined): Decode<T> =>
  inner === undefined ? decode : Object.assign(decode, { inner });

/** A field that always has a value: it must be there, or has a default. */
export interface Always<T> {
  readonly decode: Decode<T>;
  readonly otherwise: (at: string) => T;
}
export type Field<T> = Decode<T> | Always<T>;

/** @throws config/invalid, always; its type lets it stand where a value is expected. */
export function invalid(at: string, why: string): never {
  throw new NetError("config/invalid", { field: at === "" ? "the configuration" : at, why });
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `the ${typeof value} ${JSON.stringify(value)}`;
}
const mismatch = (at: string, wanted: string, value: unknown): never =>
  invalid(at, `must be ${wanted}, not ${kindOf(value)}`);

export const text: Decode<string> = (value, at) =>
  typeof value === "string" ? value : mismatch(at, "a string", value);

export const flag: Decode<boolean> = (value, at) =>
  typeof value === "boolean" ? value : mismatch(at, "true or false", value);

/** `true`, `false`, or one of the two as a string in any case, as `disableCheck` is written. */
export const looseFlag: Decode<boolean> = (value, at) => {
  const word = typeof value === "string" ? value.toLowerCase() : value;
  return (
    word === true ||
    word === "true" ||
    (word !== false && word !== "false" && mismatch(at, "true or false", value))
  );
};

/** A whole number within the bounds, which belong to the range. */
export const integer =
  ({ min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = {}): Decode<number> =>
  (value, at) => {
    if (typeof value !== "number" || !Number.isInteger(value)) return mismatch(at, "a whole number", value);
    if (value < min || value > max) return invalid(at, `${value} is not within ${min} and ${max}`);
    return value;
  };

export const oneOf =
  <const T extends string>(...words: readonly T[]): Decode<T> =>
  (value, at) => {
    const word = text(value, at);
    return (
      words.find((w) => w === word) ??
      invalid(at, `"${word}" is not one of ${words.filter((w) => w !== "").join(", ")}`)
    );
  };

/** A string that one of the parsers of `net/` understands: `parsed(parsePrefix)`. */
export const parsed =
  <T>(parse: (s: string) => Parsed<T>): Decode<T> =>
  (value, at) => {
    const result = parse(text(value, at));
    return result.ok ? result.value : invalid(at, result.why);
  };

export const list = <T>(item: Decode<T>): Decode<readonly T[]> =>
  withInner(
    (value, at) =>
      Array.isArray(value) ? value.map((v, i) => item(v, `${at}[${i}]`)) : mismatch(at, "a list", value),
    { kind: "list", item },
  );

/**
 * What `decode` reads, looked at once more: turned into something else, or refused with `invalid`. Unlike a function
 * around `decode`, the result still tells its keys.
 */
export const refined = <T, U>(decode: Decode<T>, look: (value: T, at: string) => U): Decode<U> =>
  withInner((value, at) => look(decode(value, at), at), decode.inner);

/** Any object, its keys as they are. */
export const anyObject: Decode<JsonObject> = (value, at) =>
  isObject(value) ? value : mismatch(at, "an object", value);

export const anything: Decode<unknown> = (value) => value;

/** An object used as a dictionary: every value is a `T`. */
export const dictionary =
  <T>(item: Decode<T>): Decode<Readonly<Record<string, T>>> =>
  (value, at) =>
    Object.fromEntries(Object.entries(anyObject(value, at)).map(([k, v]) => [k, item(v, below(at, k))]));

export const required = <T>(decode: Decode<T>): Always<T> => ({
  decode,
  otherwise: (at) => invalid(at, "is missing"),
});

export const withDefault = <T>(decode: Decode<T>, value: T): Always<T> => ({
  decode,
  otherwise: () => value,
});

export type Shape = Readonly<Record<string, Field<unknown>>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
export type ObjectOf<S extends Shape> = {
  readonly [K in keyof S as S[K] extends Always<unknown> ? K : never]: ValueOf<S[K]>;
} & { readonly [K in keyof S as S[K] extends Always<unknown> ? never : K]?: ValueOf<S[K]> };

/** An object with these keys, in any case; a key that is absent or null is left out unless `required` or with a default. */
export function object<const S extends Shape>(shape: S): Decode<ObjectOf<S>> {
  const keys = Object.keys(shape);
  const decode = (value: unknown, at: string): ObjectOf<S> => {
    const raw = foldKeys(anyObject(value, at), keys);
    const out: Record<string, unknown> = {};
    for (const key of keys) {
      const field = shape[key];
      if (field === undefined) continue;
      const here = below(at, key);
      if (raw[key] !== undefined) out[key] = decoderOf(field)(raw[key], here);
      else if (typeof field !== "function") out[key] = field.otherwise(here);
    }
    return out as ObjectOf<S>;
  };
  return withInner(decode, { kind: "object", fields: shape });
}

/** The decoder of a field, whether it must be there or not. */
export const decoderOf = (field: Field<unknown>): Decode<unknown> =>
  typeof field === "function" ? field : field.decode;

const below = (at: string, key: string): string => (at === "" ? key : `${at}.${key}`);

/** Runs a decoder over what is not the network configuration; its complaint becomes decode/malformed about `what`. */
export function decodeAs<T>(what: string, decode: Decode<T>, value: unknown): T {
  try {
    return decode(value, "");
  } catch (e) {
    if (!(e instanceof NetError && e.is("config/invalid"))) throw e;
    const field = e.detail.field === "the configuration" ? "" : `${e.detail.field} `;
    throw new NetError("decode/malformed", { what, why: `${field}${e.detail.why}` }, { cause: e });
  }
}

/** Most that is read of a configuration or a result, in characters. */
export const JSON_TEXT_LIMIT = 1024 * 1024;
/** Deepest nesting of lists and objects that is accepted. */
export const JSON_DEPTH_LIMIT = 64;

/**
 * JSON text within the limits above; `what` names it in errors.
 * @throws decode/malformed
 */
export function parseJson(source: string, what: string): unknown {
  const malformed = (why: string, cause?: unknown): NetError =>
    new NetError("decode/malformed", { what, why }, cause === undefined ? undefined : { cause });
  if (source.length > JSON_TEXT_LIMIT) throw malformed(`longer than ${JSON_TEXT_LIMIT} characters`);
  if (depthOf(source) > JSON_DEPTH_LIMIT) throw malformed(`nested deeper than ${JSON_DEPTH_LIMIT} levels`);
  try {
    return JSON.parse(source);
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e);
    throw malformed(why.slice(0, 200), e); // some engines quote the text in their message
  }
}

// Counted on the text, before parsing: what recurses over the value later never meets a deeper one.
function depthOf(source: string): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let i = 0; i < source.length; i++) {
    const c = source.charCodeAt(i);
    if (quoted) {
      if (c === 0x5c) i++;
      else if (c === 0x22) quoted = false;
    } else if (c === 0x22) quoted = true;
    else if (c === 0x7b || c === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (c === 0x7d || c === 0x5d) depth--;
  }
  return deepest;
}
