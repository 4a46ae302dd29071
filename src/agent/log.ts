/** The agent's log: one line an event, as text or as JSON, and repeats told as a number instead of again and again. */
import type { Level } from "./tellings.ts";

export interface LogLine {
  readonly level: Level;
  /** What kind of event it is, in one word. */
  readonly code: string;
  readonly text: string;
  readonly node?: string;
}
export type LogFormat = "text" | "json";

/** `2026-11-22T12:00:00.000Z warning node-refused [host2] its subnet …` */
export function formatLine(line: LogLine, at: number, format: LogFormat): string {
  const time = new Date(at).toISOString();
  const { level, code, text, node } = line;
  if (format === "json")
    return JSON.stringify({ time, level, code, ...(node === undefined ? {} : { node }), message: text });
  const about = node === undefined ? "" : ` [${node}]`;
  // Names and texts of others are part of it, and a terminal obeys control characters.
  return `${time} ${level} ${code}${about} ${text}`.replaceAll(/\p{Cc}/gu, "?");
}

/** A line is written so often within the window; then it is counted. */
export const REPEATS = 3;
export const WINDOW_MS = 60_000;
/** Different lines that are remembered. */
const MOST = 1_000;

export interface Log {
  line(line: LogLine): void;
  /** Says what was held back in windows that are over. */
  flush(): void;
}

interface Seen {
  readonly since: number;
  count: number;
}

export function makeLog(options: {
  readonly format: LogFormat;
  readonly least: Level;
  readonly now: () => number;
  readonly write: (line: string) => void;
}): Log {
  const { format, least, now, write } = options;
  const seen = new Map<string, Seen & { readonly line: LogLine }>();
  const put = (line: LogLine): void => write(formatLine(line, now(), format));
  const close = (key: string, { count, line }: Seen & { readonly line: LogLine }): void => {
    seen.delete(key);
    const more = count - REPEATS;
    if (more > 0) put({ ...line, text: `${line.text} (${more} more within a minute)` });
  };
  const flush = (): void => {
    for (const [key, entry] of seen) if (now() - entry.since >= WINDOW_MS) close(key, entry);
  };
  return {
    flush,
    line(line) {
      if (RANK[line.level] < RANK[least]) return;
      flush();
      const key = `${line.code} ${line.node ?? ""} ${line.text}`;
      const entry = seen.get(key);
      if (entry !== undefined) {
        entry.count++;
        if (entry.count <= REPEATS) put(line);
        return;
      }
      // The oldest makes room.
      const [oldest] = seen.size >= MOST ? seen : [];
      if (oldest !== undefined) close(...oldest);
      seen.set(key, { since: now(), count: 1, line });
      put(line);
    },
  };
}

const RANK: Readonly<Record<Level, number>> = { info: 0, warning: 1, error: 2 };
