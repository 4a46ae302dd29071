/** What validation found in a file, where it stands, and how that looks to a person and to a program. */
import type { Span } from "./json-tree.ts";

export interface Finding {
  readonly severity: "error" | "warning";
  /** The key that it is about, for example `plugins[0].ipam.subnet`; empty for the file as a whole. */
  readonly path: string;
  readonly message: string;
  readonly span: Span;
}

/** One file: its findings point into its text. */
export interface Checked {
  readonly file: string;
  readonly text: string;
  readonly findings: readonly Finding[];
}

/** A finding as JSON. Lines and columns begin at 1; columns count UTF-16 units, as most editors do. */
export interface FindingJson extends Omit<Finding, "span"> {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

interface Place {
  readonly line: number;
  readonly column: number;
  /** The text of the line. */
  readonly source: string;
}

function placeOf(text: string, offset: number): Place {
  const before = text.slice(0, offset);
  const start = before.lastIndexOf("\n") + 1;
  const end = text.indexOf("\n", offset);
  const line = before.split("\n").length;
  return { line, column: offset - start + 1, source: text.slice(start, end === -1 ? text.length : end) };
}

export const toJson = ({ file, text, findings }: Checked): readonly FindingJson[] =>
  findings.map(({ span, ...rest }) => {
    const { line, column } = placeOf(text, span.start);
    return { file, line, column, ...rest };
  });

/** Most of a line that is shown, in characters. */
const SHOWN = 120;

/** As compilers write it: place and message on a line, the line of the file, and a caret below what is meant. */
export const toText = ({ file, text, findings }: Checked): readonly string[] =>
  findings.map(({ span, severity, message }) => {
    const { line, column, source } = placeOf(text, span.start);
    const head = `${file}:${line}:${column}: ${severity}: ${message}`;
    // Of a long line, the part around the place.
    const from = Math.max(0, Math.min(column - 1 - SHOWN / 2, source.length - SHOWN));
    const shown = source.slice(from, from + SHOWN).trimEnd();
    if (shown.trim() === "") return head;
    const at = column - 1 - from;
    const width = Math.max(1, Math.min(span.end - span.start, shown.length - at));
    // A tab stays a tab, so that the caret stands below its character whatever a tab's width is.
    const indent = shown.slice(0, at).replaceAll(/[^\t]/g, " ");
    return `${head}\n  ${shown}\n  ${indent}${"^".repeat(width)}`;
  });

/** In the order of the file; of the same complaint about the same place, one. */
export function inOrder(findings: readonly Finding[]): readonly Finding[] {
  const seen = new Set<string>();
  return findings
    .toSorted((a, b) => a.span.start - b.span.start)
    .filter(({ span, message }) => {
      const key = `${span.start} ${message}`;
      return !seen.has(key) && seen.add(key);
    });
}
