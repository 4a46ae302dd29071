import { coloured, type Colour, printable, type Terminal } from "../terminal.ts";
import { type Entry, showPort, type State } from "./entry.ts";

/** Attachments as a table for people. On a terminal each is one line: long cells are cut, the widest first. */
const HEADS = ["KEY", "NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "PORTS", "AGE", "STATE"] as const;

const GAP = "  ";
/** Cells are not cut below this; the longest state, `no record`, never is. */
const LEAST = 5;
const LEAST_STATE = 9;
/** Key, age and state are read whole; what is behind the state takes the rest of the line. */
const CUT = [1, 2, 3, 4, 5];
const STATE = HEADS.length - 1;

const colourOf: { readonly [S in State]: Colour } = {
  ok: "green",
  broken: "red",
  dead: "yellow",
  busy: "dim",
  "no record": "yellow",
};

export function psTable(entries: readonly Entry[], terminal: Terminal, now: number): string {
  const rows = entries.map((e) => cells(e, now));
  const widths = fit([HEADS, ...rows], terminal.columns);
  const line = (row: readonly string[], colour?: Colour): string =>
    row
      .map((cell, i) => {
        const text = cut(cell, widths[i] ?? 0);
        if (i !== STATE) return text.padEnd(widths[i] ?? 0);
        const [state = ""] = cell.split(":", 1);
        return colour && text.startsWith(state)
          ? coloured(terminal, colour, state) + text.slice(state.length)
          : text;
      })
      .join(GAP);
  return [line(HEADS), ...rows.map((row, i) => line(row, colourOf[entries[i]?.state ?? "ok"]))].join("\n");
}

const cells = (e: Entry, now: number): readonly string[] => rawCells(e, now).map(printable);

const rawCells = (e: Entry, now: number): readonly string[] => [
  e.key,
  e.network ?? "-",
  e.containerId ?? "-",
  e.ifname ?? "-",
  e.addresses.join(", ") || "-",
  e.ports.map(showPort).join(", ") || "-",
  e.since === null ? "-" : age(now - Date.parse(e.since)),
  [e.state, explanation(e)].filter((s) => s !== "").join(": "),
];

/** Why it is in its state, if there is something to say. */
export function explanation({ why, findings: [first] }: Entry): string {
  if (first === undefined) return why ?? "";
  return `${first.component}: ${first.what}: want ${first.wanted}, found ${first.found}`;
}

const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
] as const;

/** `45s`, `3m`, `5h`, `12d`: whole units of the largest that fits. */
export function age(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const [size, unit] = UNITS.find(([s]) => seconds >= s) ?? [1, "s"];
  return `${Math.floor(seconds / size)}${unit}`;
}

/** The width of each column, so that a line has at most that many characters if this is possible. */
function fit(rows: readonly (readonly string[])[], columns: number | undefined): readonly number[] {
  const widths = HEADS.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  if (columns === undefined) return widths;
  const room = columns - GAP.length * (HEADS.length - 1);
  const total = (): number => widths.reduce((sum, w) => sum + w, 0);
  // The explanation gives way first.
  widths[STATE] = Math.max(LEAST_STATE, Math.min(widths[STATE] ?? 0, room - total() + (widths[STATE] ?? 0)));
  while (total() > room) {
    const widest = CUT.reduce((a, b) => ((widths[b] ?? 0) > (widths[a] ?? 0) ? b : a));
    if ((widths[widest] ?? 0) <= LEAST) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
