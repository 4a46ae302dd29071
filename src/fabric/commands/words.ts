/**
 * A command line as people write it for a shell, read without one: words, quotes, backslashes and references to variables. What
 * is accepted means what it means to a shell (POSIX XCU 2.2), but for one thing: a value is never split into words. What would
 * need a shell is refused.
 */
import { bad, good, type Parsed } from "../../net/brand.ts";

/** A part of a word: text as it stands, or the value of a variable. */
export type Piece<V extends string> =
  { readonly kind: "text"; readonly text: string } | { readonly kind: "variable"; readonly name: V };

/** `V`: the variables that may stand in it. */
export interface CommandLine<V extends string> {
  /** As it was written. */
  readonly text: string;
  /** The first is the program's and has no variable. */
  readonly words: readonly (readonly Piece<V>[])[];
}

/** Longest line, in characters. */
export const LINE_LIMIT = 8_192;

type Token =
  | { readonly kind: "blank" | "quote" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "variable"; readonly name: string };
type Read = Token & { readonly length: number };

const BLANK = /[ \t]+/y;
/** What means something to a shell wherever it stands is not among it. */
const PLAIN = /[^\p{Cc} '"\\$`|&;<>()*?[\]{}]+/uy;
const SINGLE = /'([^']*)'/y;
const ESCAPED = /\\([^\n])/y;
const IN_QUOTES = /[^"\\$`]+/y;
/** A backslash in front of another character stands for itself. */
const ESCAPED_IN_QUOTES = /\\(["\\$`])|\\(?!\n)/y;
const VARIABLE = /\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/y;

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

/** Undefined: nothing that is read without a shell. */
function readToken(text: string, at: number, inQuotes: boolean): Read | undefined {
  if (text[at] === '"') return { kind: "quote", length: 1 };
  const variable = match(VARIABLE, text, at);
  if (variable !== undefined)
    return { kind: "variable", name: variable[1] ?? variable[2] ?? "", length: variable[0].length };
  const literal = (found: RegExpExecArray | undefined, meant?: string): Read | undefined =>
    found && { kind: "text", text: meant ?? found[0], length: found[0].length };
  if (inQuotes) {
    const escaped = match(ESCAPED_IN_QUOTES, text, at);
    return literal(escaped, escaped?.[1]) ?? literal(match(IN_QUOTES, text, at));
  }
  const blank = match(BLANK, text, at);
  if (blank !== undefined) return { kind: "blank", length: blank[0].length };
  const single = match(SINGLE, text, at);
  const escaped = match(ESCAPED, text, at);
  return literal(single, single?.[1]) ?? literal(escaped, escaped?.[1]) ?? literal(match(PLAIN, text, at));
}

/**
 * Reads a line in which these variables may stand. Why not is a sentence about the line.
 */
export function parseCommandLine<V extends string>(
  text: string,
  variables: readonly V[],
): Parsed<CommandLine<V>> {
  if (text.length > LINE_LIMIT) return bad(`is longer than ${LINE_LIMIT} characters`);
  if (text.includes("\0")) return bad("has a zero byte");
  const words: Piece<V>[][] = [];
  /** The word that is being read; none between words. */
  let word: Piece<V>[] | undefined;
  let inQuotes = false;
  for (let at = 0; at < text.length;) {
    const token = readToken(text, at, inQuotes);
    if (token === undefined) return bad(refused(text, at));
    at += token.length;
    if (token.kind === "blank") {
      word = undefined;
      continue;
    }
    if (word === undefined) {
      const why = refusedAtStart(text, at - token.length, words.length === 0);
      if (why !== undefined) return bad(why);
      words.push((word = []));
    }
    if (token.kind === "quote") inQuotes = !inQuotes;
    if (token.kind === "text") addText(word, token.text);
    if (token.kind === "variable") {
      const name = variables.find((known) => known === token.name);
      if (name === undefined) return bad(unknownVariable(token.name, variables));
      word.push({ kind: "variable", name });
    }
  }
  if (inQuotes) return bad('has a " that is not closed');
  const why = programless(words[0]);
  return why === undefined ? good({ text, words }) : bad(why);
}

function addText<V extends string>(pieces: Piece<V>[], text: string): void {
  const last = pieces.at(-1);
  if (last?.kind === "text") pieces[pieces.length - 1] = { kind: "text", text: last.text + text };
  else pieces.push({ kind: "text", text });
}

/** The words with the values in them. One word of the line is one word of these, whatever is in the values. */
export const expandWords = <V extends string>(
  { words }: CommandLine<V>,
  values: Readonly<Record<V, string>>,
): readonly string[] =>
  words.map((pieces) =>
    pieces.map((piece) => (piece.kind === "text" ? piece.text : values[piece.name])).join(""),
  );

const unknownVariable = (name: string, variables: readonly string[]): string =>
  `has no value for $${name}: there are ${variables.map((known) => `$${known}`).join(", ")}; put it into '…' if it is meant as it stands`;

/** What a shell would do with it, by the character that asks for it. */
const meanings: Readonly<Record<string, string>> = {
  "|": "a pipe",
  "&": "commands in a row or in the background",
  ";": "commands in a row",
  "<": "a redirection",
  ">": "a redirection",
  "(": "a subshell",
  ")": "a subshell",
  "`": "the output of a command",
  "*": "a pattern of file names",
  "?": "a pattern of file names",
  "[": "a pattern of file names",
  "]": "a pattern of file names",
  "{": "a group",
  "}": "a group",
  "#": "a comment",
  "~": "a home directory",
  "!": "the opposite of a command",
  "\n": "commands in a row",
};

const needsShell = (shown: string, meaning: string, at: number): string =>
  `has ${shown} at character ${at + 1}, which is ${meaning} to a shell, and no shell reads it: put the commands into a ` +
  "script and name that, or put it into '…' if it is meant as it stands";

function refused(text: string, at: number): string {
  const [sign = ""] = text.slice(at);
  if (sign === "'") return "has a ' that is not closed";
  if (sign === "\\") return `has a backslash with nothing behind it at character ${at + 1}`;
  if (sign === "$") {
    const next = text[at + 1] ?? "";
    if (next === "(") return needsShell("$(", "the output of a command", at);
    if (next === "{") return needsShell("${", "a variable that is changed", at);
    return needsShell("$", "a variable", at);
  }
  const meaning = meanings[sign];
  if (meaning !== undefined) return needsShell(sign === "\n" ? "a line break" : sign, meaning, at);
  return `has a control character at character ${at + 1}: only blanks and tabs are between words`;
}

/** Means something to a shell at the beginning of a word only, or of the first. */
function refusedAtStart(text: string, at: number, isFirst: boolean): string | undefined {
  const sign = text[at] ?? "";
  if (sign === "#" || sign === "~") return needsShell(sign, meanings[sign] ?? "", at);
  if (!isFirst) return undefined;
  const [first = ""] = match(/[^ \t'"\\$]*/y, text, at) ?? [];
  if (first === "!") return needsShell("!", "the opposite of a command", at);
  if (/^[A-Za-z_]\w*=/.test(first))
    return needsShell(`${first.split("=")[0] ?? ""}=`, "a variable that is set", at);
  if (SHELL_WORDS.has(first)) return needsShell(`"${first}"`, "a word of its own", at);
  return undefined;
}

/** No programs of these names do what a shell does. */
const SHELL_WORDS: ReadonlySet<string> = new Set(
  ". : break case cd continue eval exec exit export for function if read return set shift source trap ulimit umask unset until while".split(
    " ",
  ),
);

function programless(word: readonly Piece<string>[] | undefined): string | undefined {
  if (word === undefined) return "is blank";
  const [only] = word;
  if (word.length === 1 && only?.kind === "text" && only.text !== "") return undefined;
  return "must begin with the name of a program";
}
