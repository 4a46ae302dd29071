/**
 * JSON text as a tree that remembers where everything stands, for messages that point into a file. Accepts what
 * `JSON.parse` accepts and nothing else. `JSON.parse` tells no positions, and the parsers that do are made for JSON with
 * comments, which no CNI program reads.
 */
import { JSON_DEPTH_LIMIT } from "../../cni/json.ts";

/** From the offset of its first character to that after its last, in UTF-16 units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}
export interface Member {
  readonly key: string;
  /** Where the key stands, its quotes included. */
  readonly keySpan: Span;
  readonly value: Node;
}
export type Node = Span &
  (
    | { readonly kind: "object"; readonly members: readonly Member[] }
    | { readonly kind: "list"; readonly items: readonly Node[] }
    | { readonly kind: "value"; readonly value: string | number | boolean | null }
  );

export type ParsedTree =
  | { readonly ok: true; readonly root: Node }
  | { readonly ok: false; readonly at: number; readonly why: string };

interface Scanner {
  readonly text: string;
  at: number;
  depth: number;
  failure?: { readonly at: number; readonly why: string };
}

/** Parses a whole text; the first thing that is wrong ends it. */
export function parseTree(text: string): ParsedTree {
  const s: Scanner = { text, at: 0, depth: 0 };
  const root = readValue(s);
  skipSpace(s);
  if (root !== undefined && s.at < text.length) fail(s, "the text should end here");
  if (s.failure !== undefined || root === undefined)
    return { ok: false, ...(s.failure ?? { at: 0, why: "" }) };
  return { ok: true, root };
}

/** The plain value, as `JSON.parse` gives it. */
export function valueOf(node: Node): unknown {
  if (node.kind === "value") return node.value;
  if (node.kind === "list") return node.items.map(valueOf);
  return Object.fromEntries(node.members.map(({ key, value }) => [key, valueOf(value)]));
}

function fail(s: Scanner, why: string, at = s.at): undefined {
  s.failure ??= { at, why };
  return undefined;
}

function skipSpace(s: Scanner): void {
  while (" \t\r\n".includes(s.text.charAt(s.at)) && s.at < s.text.length) s.at++;
}

function shown(s: Scanner): string {
  const code = s.text.codePointAt(s.at);
  return code === undefined ? "the end of the text" : JSON.stringify(String.fromCodePoint(code));
}

const words: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null };
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[A-Za-z_]+/y;

function readValue(s: Scanner): Node | undefined {
  skipSpace(s);
  const start = s.at;
  const first = s.text.charAt(s.at);
  if (first === "{") return nested(s, readObject);
  if (first === "[") return nested(s, readList);
  if (first === '"') {
    const value = readString(s);
    return value === undefined ? undefined : { kind: "value", value, start, end: s.at };
  }
  const number = match(s, NUMBER);
  if (number !== undefined) {
    s.at += number.length;
    return { kind: "value", value: Number(number), start, end: s.at };
  }
  const word = match(s, WORD);
  if (word === undefined) return fail(s, `expected a value, found ${shown(s)}`);
  const value = Object.hasOwn(words, word) ? words[word] : undefined;
  if (value === undefined) return fail(s, `${word} is no value of JSON; a string needs quotes`);
  s.at += word.length;
  return { kind: "value", value, start, end: s.at };
}

function match(s: Scanner, pattern: RegExp): string | undefined {
  pattern.lastIndex = s.at;
  return pattern.exec(s.text)?.[0];
}

function nested(s: Scanner, read: (s: Scanner) => Node | undefined): Node | undefined {
  if (++s.depth > JSON_DEPTH_LIMIT) return fail(s, `nested deeper than ${JSON_DEPTH_LIMIT} levels`);
  const node = read(s);
  s.depth--;
  return node;
}

/** Reads what stands between two brackets, with commas between. False if something is wrong. */
function readItems(s: Scanner, close: "}" | "]", item: () => boolean): boolean {
  const open = s.at++;
  skipSpace(s);
  if (s.text.charAt(s.at) === close) return ++s.at > 0;
  for (;;) {
    if (!item()) return false;
    skipSpace(s);
    const next = s.text.charAt(s.at);
    if (next !== "," && next !== close) {
      if (next === "") fail(s, `the text ends before the "${s.text.charAt(open)}" is closed`, open);
      else fail(s, `expected "," or "${close}", found ${shown(s)}`);
      return false;
    }
    const comma = s.at++;
    if (next === close) return true;
    skipSpace(s);
    if (s.text.charAt(s.at) === close) {
      fail(s, `a comma before "${close}" is one too many`, comma);
      return false;
    }
  }
}

function readObject(s: Scanner): Node | undefined {
  const start = s.at;
  const members: Member[] = [];
  const complete = readItems(s, "}", () => {
    const keyStart = s.at;
    if (s.text.charAt(s.at) !== '"') {
      fail(s, `expected a key in quotes, found ${shown(s)}`);
      return false;
    }
    const key = readString(s);
    if (key === undefined) return false;
    const keySpan = { start: keyStart, end: s.at };
    skipSpace(s);
    if (s.text.charAt(s.at) !== ":") {
      fail(s, `expected ":" after the key, found ${shown(s)}`);
      return false;
    }
    s.at++;
    const value = readValue(s);
    if (value !== undefined) members.push({ key, keySpan, value });
    return value !== undefined;
  });
  return complete ? { kind: "object", members, start, end: s.at } : undefined;
}

function readList(s: Scanner): Node | undefined {
  const start = s.at;
  const items: Node[] = [];
  const complete = readItems(s, "]", () => {
    const value = readValue(s);
    if (value !== undefined) items.push(value);
    return value !== undefined;
  });
  return complete ? { kind: "list", items, start, end: s.at } : undefined;
}

const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

function readString(s: Scanner): string | undefined {
  const start = s.at++;
  for (;;) {
    const code = s.text.charCodeAt(s.at);
    if (Number.isNaN(code)) return fail(s, "the string is not closed", start);
    if (code === 0x22) break;
    if (code === 0x0a) return fail(s, "the string is not closed before the line ends", start);
    if (code < 0x20) return fail(s, "a control character must be written as an escape");
    if (code === 0x5c) {
      const escape = match(s, ESCAPE);
      if (escape === undefined) return fail(s, "this escape is not one of JSON");
      s.at += escape.length;
    } else s.at++;
  }
  s.at++;
  return JSON.parse(s.text.slice(start, s.at)) as string;
}
