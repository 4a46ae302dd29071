/**
 * The index: who owns which file of a reservation directory, so that ADD and DEL need not read them all. It is a log
 * beside the directory, never inside, because the reference reads every file in there. It is only a cache: whoever finds
 * it missing, torn or out of date scans the directory and writes it anew.
 *
 * What proves that it is up to date. Every creation, link, rename and removal in a directory sets the directory's
 * modification time to the kernel's clock. That clock moves in steps of some milliseconds, so two changes can leave the
 * same time, and comparing times as the kernel left them proves nothing. Therefore the writer, still under the lock, sets
 * the modification time itself: to a moment two to three seconds ago with a random fraction, which the kernel's clock will
 * not show again, and records it with the change time, the inode and the device. While the directory still has that time,
 * nothing was added to it or taken from it since.
 */
import { NetError } from "../../../errors.ts";
import { dirOf, type FileStat, O, readText, statPath } from "../../../sys/files.ts";
import type { Files } from "./files.ts";

const HEADER = "heddle host-local index 1\n";
/** A log longer than twice its live entries and this many lines is written anew. */
const SLACK_LINES = 256;

/** One line: `file` is (`+`) or is no longer (`-`) a reservation of `owner`. */
export interface Change {
  readonly sign: "+" | "-";
  readonly file: string;
  /** The content of the file without white space around it. */
  readonly owner: string;
}

export interface Index {
  readonly text: string;
  /** Files that are there according to the log, and lines it took to say so. */
  readonly live: number;
  readonly lines: number;
}

// Owners and file names of strangers may hold anything, line ends included.
const encode = (s: string): string => encodeURIComponent(s.toWellFormed());
const line = (c: Change): string => `${c.sign}${encode(c.owner)} ${encode(c.file)}\n`;
const endLine = (stamp: string, live: number, lines: number): string => `= ${stamp} ${live} ${lines}\n`;

/** What identifies the present state of a directory. */
const stampOf = (s: FileStat): string => `${s.dev}:${s.ino}:${s.mtimeNs}:${s.ctimeNs}`;
function statOf(dir: string): FileStat {
  const found = statPath(dir);
  if (found === undefined) throw new NetError("sys/call", { call: "stat", on: dir, errno: "ENOENT" });
  return found;
}

/** The index at `path` if it describes the directory as it is now. */
export function readIndex(path: string, dir: string): Index | undefined {
  let text: string;
  try {
    text = readText(path, O.NOFOLLOW);
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
  // A power loss can leave pages of zeros in a file whose last line is whole.
  if (!text.startsWith(HEADER) || !text.endsWith("\n") || text.includes("\0")) return undefined;
  const last = text.slice(text.lastIndexOf("\n", text.length - 2) + 1, -1);
  const [, stamp, live, lines] = /^= (\S+) (\d+) (\d+)$/.exec(last) ?? [];
  if (stamp !== stampOf(statOf(dir))) return undefined;
  return { text, live: Number(live), lines: Number(lines) };
}

/** The files of one owner. Searches the text instead of parsing it: the cost hardly grows with the log. */
export function filesOf(index: Index, owner: string): string[] {
  const found = new Set<string>();
  const needle = `${encode(owner)} `;
  for (let i = index.text.indexOf(needle); i >= 0; i = index.text.indexOf(needle, i + needle.length)) {
    const sign = index.text[i - 1];
    if (index.text[i - 2] !== "\n" || (sign !== "+" && sign !== "-")) continue;
    const start = i + needle.length;
    const file = decodeURIComponent(index.text.slice(start, index.text.indexOf("\n", start)));
    if (sign === "+") found.add(file);
    else found.delete(file);
  }
  return [...found];
}

/** Every file and its owner. */
export function entriesOf(index: Index): Map<string, string> {
  const entries = new Map<string, string>();
  for (const [, sign, owner = "", file = ""] of index.text.matchAll(/^([+-])(\S*) (\S+)$/gm))
    if (sign === "+") entries.set(decodeURIComponent(file), decodeURIComponent(owner));
    else entries.delete(decodeURIComponent(file));
  return entries;
}

/**
 * Marks the directory with a time of our own and returns its stamp; undefined if the file system keeps whole seconds or no
 * such time at all: two marks could be equal there, and nothing would be proven.
 */
function mark(dir: string, files: Files): string | undefined {
  const seconds = Date.now() / 1000 - 2 - Math.random();
  files.setTime(dir, seconds);
  const stat = statOf(dir);
  return Math.abs(Number(stat.mtimeNs) / 1e9 - seconds) < 0.001 ? stampOf(stat) : undefined;
}

/** Adds changes to a log that was valid before them, or writes it anew if it has grown long. Call under the lock. */
export function extendIndex(
  path: string,
  dir: string,
  index: Index,
  changes: readonly Change[],
  files: Files,
): void {
  const live = changes.reduce((n, c) => n + (c.sign === "+" ? 1 : -1), index.live);
  const lines = index.lines + changes.length;
  if (lines > 2 * live + SLACK_LINES) {
    const entries = entriesOf({ ...index, text: index.text + changes.map(line).join("") });
    writeIndex(path, dir, entries, files);
    return;
  }
  const stamp = mark(dir, files);
  if (stamp) files.append(path, changes.map(line).join("") + endLine(stamp, live, lines));
}

/** Writes the whole log. In place: the line that makes it valid comes last. Call under the lock. */
export function writeIndex(
  path: string,
  dir: string,
  entries: ReadonlyMap<string, string>,
  files: Files,
): void {
  const stamp = mark(dir, files);
  if (!stamp) return;
  const lines = Array.from(entries, ([file, owner]) => line({ sign: "+", file, owner }));
  files.makeDir(dirOf(path));
  files.write(path, HEADER + lines.join("") + endLine(stamp, entries.size, entries.size));
}
