/** The outcome of `ping` as a table: who sends in rows, who is reached in columns, times in milliseconds. Pure. */
import type { Family } from "../net/ip.ts";
import { addressIn } from "./look.ts";
import type { Party, Pinged } from "./ping.ts";

/** True if everything that was asked got at least one answer. */
export const allReached = (pinged: readonly Pinged[]): boolean => pinged.every((p) => p.received > 0);

const time = (ms: number): string => (ms < 10 ? ms.toFixed(2) : ms < 1000 ? ms.toFixed(1) : ms.toFixed(0));

function cell(found: Pinged | undefined): string {
  if (found === undefined) return "·";
  if (found.ms === undefined) return "FAIL";
  const lost = found.sent - found.received;
  return lost === 0 ? time(found.ms) : `${time(found.ms)} -${Math.round((lost * 100) / found.sent)}%`;
}

/** One family's table; `pinged` may have others too. `·` is what was not asked. */
export function drawMatrix(
  parties: readonly Party[],
  pinged: readonly Pinged[],
  family: Family,
): readonly string[] {
  const own = pinged.filter((p) => p.family === family);
  const key = (from: string, to: string): string => `${from} ${to}`;
  const found = new Map(own.map((p) => [key(p.from, p.to), p]));
  const rows = parties.map((from, i) => ({
    label: [String(i + 1), from.name, addressIn(from.addresses, family) ?? "no address"] as const,
    cells: parties.map((to) =>
      to === from || from.kind === "outside" ? "" : cell(found.get(key(from.name, to.name))),
    ),
  }));
  const width = (texts: readonly string[]): number => Math.max(0, ...texts.map((t) => t.length));
  const labels = [0, 1, 2].map((at) => width(rows.map(({ label }) => label[at] ?? "")));
  const columns = parties.map((_, i) => width([String(i + 1), ...rows.map(({ cells }) => cells[i] ?? "")]));
  const line = (label: readonly string[], cells: readonly string[]): string =>
    [
      ...label.map((text, at) => (at === 0 ? text.padStart(labels[at] ?? 0) : text.padEnd(labels[at] ?? 0))),
      ...cells.map((text, i) => text.padStart(columns[i] ?? 0)),
    ]
      .join("  ")
      .trimEnd();
  const failed = own.filter((p) => p.received === 0);
  return [
    line(
      ["", `IPv${family}, ms`, ""],
      parties.map((_, i) => String(i + 1)),
    ),
    ...rows.map(({ label, cells }) => line(label, cells)),
    "",
    failed.length === 0
      ? `${own.length} of ${own.length} reached`
      : `${own.length - failed.length} of ${own.length} reached, ${failed.length} FAILED`,
    ...reasons(failed),
  ];
}

/** Those of which more is known than silence, once each. */
const reasons = (failed: readonly Pinged[]): readonly string[] =>
  [...Map.groupBy(failed, (p) => p.error).entries()].flatMap(([error, some]) =>
    error === undefined
      ? []
      : [
          `  ${error}: ${some
            .slice(0, 3)
            .map((p) => `${p.from} to ${p.address}`)
            .join(", ")}${some.length > 3 ? ` and ${some.length - 3} more` : ""}`,
        ],
  );
