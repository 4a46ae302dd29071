/** What the command line prints: text that arrives whole even at a slow reader, and tables for people. */
import { writeAll } from "../cni/executable.ts";

/** Prints on standard output, a line's end included. */
export const print = (text: string): void => void writeAll(1, text.endsWith("\n") ? text : `${text}\n`);

/** Prints on standard output exactly this. */
export const printExactly = (text: string): void => void writeAll(1, text);

/** Prints on standard error, a line's end included. */
export const complain = (text: string): void => void writeAll(2, text.endsWith("\n") ? text : `${text}\n`);

/** Lines with columns as wide as their widest cell; the last column is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join("  ");
  return rows.map(line).join("\n");
}
