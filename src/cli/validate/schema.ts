/**
 * Holds a part of a file against decoders: every key that none of them knows, every value that one of them refuses, and
 * every key that is missing. Unlike the decoders themselves it goes on after the first. It knows no plugin.
 */
import { type Decode, decoderOf, type Field, fold } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import type { Finding } from "./finding.ts";
import { type Member, type Node, type Span, valueOf } from "./json-tree.ts";
import { didYouMean } from "./suggest.ts";

/** A place in a file: the value, and the key that it has if it is a member of an object. */
export interface Place {
  readonly node: Node;
  readonly key?: Span;
}

export interface Schema {
  readonly decoders: readonly Decode<unknown>[];
  /** The objects, by path, whose unknown keys are nobody's business. */
  readonly open: (path: string) => boolean;
  /** Whose options these are, for messages: `bridge`. */
  readonly of: string;
}

/** Where a complaint points: to the key, or to the opening bracket of what has none; to a plain value as a whole. */
export function spanOf({ node, key }: Place): Span {
  const { kind, start, end } = node;
  return kind === "value" ? { start, end } : (key ?? { start, end: start + 1 });
}

const below = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`);

/** The member that counts for a key: of the exact spelling, else the last of any case. `null` is as good as none. */
export function memberOf(node: Node, name: string): Member | undefined {
  if (node.kind !== "object") return undefined;
  const same = node.members.filter(({ key }) => fold(key) === fold(name));
  const found = same.findLast(({ key }) => key === name) ?? same.at(-1);
  return found?.value.kind === "value" && found.value.value === null ? undefined : found;
}

/** The place that a decoder's path means, as far as it exists: the last part may be a key that is missing. */
export const locate = (root: Place, path: string): Place => follow(root, path).place;

/** True if the path leads to something that stands in the file. */
export const isWritten = (root: Place, path: string): boolean => follow(root, path).rest === "";

function follow(root: Place, path: string): { readonly place: Place; readonly rest: string } {
  let place = root;
  let rest = path;
  while (rest !== "") {
    const next = step(place.node, rest);
    if (next === undefined) break;
    place = next.place;
    rest = next.rest;
  }
  return { place, rest };
}

function step(node: Node, path: string): { readonly place: Place; readonly rest: string } | undefined {
  const [whole, index, after = ""] = /^\[(\d+)\]\.?(.*)$/s.exec(path) ?? [];
  if (whole !== undefined) {
    const item = node.kind === "list" ? node.items[Number(index)] : undefined;
    return item && { place: { node: item }, rest: after };
  }
  if (node.kind !== "object") return undefined;
  // Keys may hold dots, so the longest that fits is the one that is meant.
  const fits = node.members
    .filter(
      ({ key }) =>
        key !== "" && fold(path).startsWith(fold(key)) && /^(?:[.[]|$)/.test(path.slice(key.length)),
    )
    .toSorted((a, b) => b.key.length - a.key.length);
  const [longest] = fits;
  const member = longest && (memberOf(node, longest.key) ?? longest);
  if (member === undefined) return undefined;
  const rest = path.slice(member.key.length).replace(/^\./, "");
  return { place: { node: member.value, key: member.keySpan }, rest };
}

/** Everything that is wrong with a part of the file, errors all of them. */
export function check(root: Place, schema: Schema): readonly Finding[] {
  const findings: Finding[] = [];
  look(root, "", schema, findings);
  return findings;

  function look(place: Place, path: string, { decoders, open, of }: Schema, found: Finding[]): void {
    const { node } = place;
    const wrong: Finding[] = [];
    if (node.kind === "object") {
      const fields = fieldsOf(decoders);
      if (fields !== undefined) {
        if (!open(path)) found.push(...unknownKeys(node.members, path, fields, of));
        found.push(...repeatedKeys(node.members, path, fields));
        for (const [key, { decoders: inside, missing }] of fields) {
          const member = memberOf(node, key);
          const here = below(path, key);
          if (member === undefined)
            for (const field of missing) wrong.push(...refused(root, () => field.otherwise(here)));
          else look({ node: member.value, key: member.keySpan }, here, { decoders: inside, open, of }, wrong);
        }
      }
    }
    if (node.kind === "list") {
      const items = decoders.flatMap(({ inner }) => (inner?.kind === "list" ? [inner.item] : []));
      for (const [i, item] of node.items.entries())
        look({ node: item }, `${path}[${i}]`, { decoders: items, open, of }, wrong);
    }
    // What a decoder says of a value as a whole counts only if the parts that it knows are right.
    if (wrong.length === 0) {
      const value = valueOf(node);
      for (const decode of decoders) wrong.push(...refused(root, () => decode(value, path)));
    }
    found.push(...wrong);
  }
}

/** What `read` throws about a key of the configuration, at its place. */
export function refused(root: Place, read: () => unknown): readonly Finding[] {
  try {
    read();
    return [];
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    const path = fieldOf(e) ?? "";
    return [{ severity: "error", path, message: e.message, span: spanOf(locate(root, path)) }];
  }
}

/** The key that an error is about. */
export function fieldOf(e: NetError): string | undefined {
  if (!e.is("config/invalid") && !e.is("config/unsupported")) return undefined;
  return e.detail.field === "the configuration" ? "" : e.detail.field;
}

interface Known {
  readonly decoders: Decode<unknown>[];
  /** Fields that say something when the key is missing. */
  readonly missing: Exclude<Field<unknown>, Decode<unknown>>[];
}

/** The keys that the decoders know, each with those of its value; undefined if none of them reads an object. */
function fieldsOf(decoders: readonly Decode<unknown>[]): ReadonlyMap<string, Known> | undefined {
  const shapes = decoders.flatMap(({ inner }) => (inner?.kind === "object" ? [inner.fields] : []));
  if (shapes.length === 0) return undefined;
  const known = new Map<string, Known>();
  for (const [key, field] of shapes.flatMap((shape) => Object.entries(shape))) {
    const entry = known.get(key) ?? { decoders: [], missing: [] };
    known.set(key, entry);
    entry.decoders.push(decoderOf(field));
    if (typeof field !== "function") entry.missing.push(field);
  }
  return known;
}

function unknownKeys(
  members: readonly Member[],
  path: string,
  known: ReadonlyMap<string, Known>,
  of: string,
): readonly Finding[] {
  const folded = new Set([...known.keys()].map(fold));
  const where = path === "" ? of : `${path} of ${of}`;
  return members
    .filter(({ key }) => !folded.has(fold(key)))
    .map(({ key, keySpan }) => ({
      severity: "error",
      path: below(path, key),
      message: `${where} has no option "${key}"${didYouMean(key, known.keys())}`,
      span: keySpan,
    }));
}

/** A key that is written twice: one of the two says nothing, and seldom the one that was meant to. */
function repeatedKeys(
  members: readonly Member[],
  path: string,
  known: ReadonlyMap<string, Known>,
): readonly Finding[] {
  const spelling = new Map([...known.keys()].map((key) => [fold(key), key]));
  const first = new Map<string, string>();
  return members.flatMap(({ key, keySpan }) => {
    const name = spelling.get(fold(key)) ?? key;
    const earlier = first.get(name);
    if (earlier === undefined) {
      first.set(name, key);
      return [];
    }
    const same = earlier === key ? "stands here a second time" : `is the same key as "${earlier}" before it`;
    return [{ severity: "error", path: below(path, key), message: `"${key}" ${same}`, span: keySpan }];
  });
}
