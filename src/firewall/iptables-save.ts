import { NetError } from "../errors.ts";

/**
 * The text that iptables-save prints and iptables-restore reads: lines into rules, words into lines. It knows the
 * syntax and no chain of ours.
 */

/** One rule of a chain, as iptables-save printed it. */
export interface SavedRule {
  readonly chain: string;
  /** What stands after `-A CHAIN`, unchanged: with `-D CHAIN` in front it removes exactly this rule. */
  readonly text: string;
  readonly words: readonly string[];
  /** The chain or the target after `-j` or `-g`; absent for a rule that only counts. */
  readonly target?: string;
}

/** The chains of one table with their rules in order. */
export type SavedTable = ReadonlyMap<string, readonly SavedRule[]>;

/** Reads the output of iptables-save: tables by name. Throws `decode/malformed` for a rule outside of a table. */
export function parseSave(output: string): ReadonlyMap<string, SavedTable> {
  const tables = new Map<string, Map<string, SavedRule[]>>();
  let table: Map<string, SavedRule[]> | undefined;
  for (const line of output.split("\n")) {
    if (line.startsWith("*")) {
      table = new Map();
      tables.set(line.slice(1).trim(), table);
    } else if (line.startsWith(":")) {
      const name = line.slice(1, line.indexOf(" "));
      if (table?.has(name) === false) table.set(name, []);
    } else if (line.startsWith("-A ")) {
      const end = line.indexOf(" ", 3);
      const chain = end < 0 ? line.slice(3) : line.slice(3, end);
      const rules = table?.get(chain);
      if (rules === undefined)
        throw new NetError("decode/malformed", { what: "iptables-save", why: `a rule of no chain: ${line}` });
      rules.push(savedRule(chain, end < 0 ? "" : line.slice(end + 1)));
    }
  }
  return tables;
}

function savedRule(chain: string, text: string): SavedRule {
  const words = splitWords(text);
  const at = words.findIndex((w) => w === "-j" || w === "-g");
  const target = at < 0 ? undefined : words[at + 1];
  return { chain, text, words, ...(target === undefined ? {} : { target }) };
}

/** Splits a line as iptables-restore does: blanks divide words; a backslash escapes inside of double quotes only. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i] ?? "";
    if (quoted) {
      if (c === '"') quoted = false;
      else if (c === "\\") word = (word ?? "") + (line[++i] ?? "");
      else word = (word ?? "") + c;
    } else if (c === '"') {
      quoted = true;
      word ??= "";
    } else if (c === " " || c === "\t") {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + c;
  }
  if (word !== undefined) words.push(word);
  return words;
}

const BARE = /^[\w./:,!+@%=[\]-]+$/;

/**
 * One word as iptables-restore reads it. A line break would begin another command, a zero byte would end the text:
 * both are refused with a `TypeError`, since configuration is checked before it gets here.
 */
export function quoteWord(word: string): string {
  if (/[\n\r\0]/.test(word)) throw new TypeError("a word of iptables-restore cannot contain a line break");
  return BARE.test(word) ? word : `"${word.replace(/["\\]/g, "\\$&")}"`;
}

/** The words of one line. */
export const joinWords = (words: readonly string[]): string => words.map(quoteWord).join(" ");
