/** Tells an answer to people: what the packet meets, by namespace, and then what becomes of it. Pure. */
import { coloured, printable, type Terminal } from "../terminal.ts";
import { wrap } from "../show/draw.ts";
import type { Answer, Outcome, Phase } from "./answer.ts";

const titles: Readonly<Record<Phase, string>> = {
  first: "the first packet",
  answer: "the answer",
  next: "the packet after that",
};
const colours = { passes: "green", dropped: "red", "cannot tell": "yellow" } as const satisfies Record<
  Outcome,
  string
>;

export interface DrawOptions {
  readonly width: number;
  readonly terminal: Pick<Terminal, "colours">;
}

export function draw(a: Answer, { width, terminal }: DrawOptions): readonly string[] {
  const lines: string[] = [];
  let packet: Phase | undefined;
  let place: string | undefined;
  for (const step of a.steps) {
    if (step.packet !== packet) {
      lines.push(...(packet === undefined ? [] : [""]), titles[step.packet]);
      place = undefined;
    }
    if (step.place !== place) lines.push(`  ${step.place}`);
    ({ packet, place } = step);
    lines.push(...wrap(`    ${step.kind.padEnd(KIND_WIDTH)}${step.text}`, width, INDENT));
  }
  const existing = a.existing.map((text) => `connection ${text}`);
  return [
    ...lines.map(printable),
    "",
    ...wrap(sentence(a), width, "  ").map((line, i) =>
      i === 0 ? coloured(terminal, colours[a.outcome], printable(line)) : printable(line),
    ),
    ...(existing.length === 0 ? [] : ["", "tracked already, and not asked again:"]),
    ...existing.flatMap((text) => wrap(`  ${text}`, width, "    ")).map(printable),
  ];
}

const KIND_WIDTH = 13;
const INDENT = " ".repeat(4 + KIND_WIDTH);

/** `dropped by …`, as the exit of the command tells it too. */
export function sentence({ outcome, packet, by, where, ends }: Answer): string {
  const of = packet === "first" ? "" : `${titles[packet]} is `;
  if (outcome === "passes") return `passes: ${by}`;
  const at = where === null ? "" : ` (${where})`;
  const back = ends === null || packet !== "answer" ? "" : "; the first packet arrives";
  if (outcome === "dropped") return `${of}dropped by: ${by}${at}${back}`;
  return `cannot tell because of: ${by}${at}${packet === "first" ? "" : `, for ${titles[packet]}`}`;
}
