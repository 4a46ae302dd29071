/**
 * A small drawing of a host, its bridge and the containers on it, made of box-drawing characters. Pure: what it draws
 * was read from the kernel by somebody else.
 */

export interface Picture {
  readonly bridge: { readonly name: string; readonly mac: string; readonly addresses: readonly string[] };
  readonly ports: readonly Port[];
  /** `127.0.0.1:9090/tcp → 10.244.10.2:80`. */
  readonly mappings: readonly string[];
}

/** A container and the link that leads to it. */
export interface Port {
  readonly hostLink: string;
  readonly container: string;
  readonly link: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
}

/** Columns between two containers. */
const GAP = 2;
const LEAST_WIDTH = 20;

export function draw({ bridge, ports, mappings }: Picture): string {
  const columns = ports.map((port) => {
    const lines = [port.container, `${port.link}  ${port.mac}`, ...port.addresses, ...port.routes];
    return { port, lines, width: Math.max(LEAST_WIDTH, port.hostLink.length, ...lines.map((l) => l.length)) };
  });
  const boxWidth = (c: (typeof columns)[number]): number => c.width + 4;
  const title = `${bridge.name}  ${bridge.mac}  ${bridge.addresses.join("  ")}`;
  // Where each line goes down, counted from the left edge of the host's box.
  const downs = columns.map(
    (c, i) => columns.slice(0, i).reduce((x, b) => x + boxWidth(b) + GAP, 0) + Math.floor(boxWidth(c) / 2),
  );
  const allBoxes = columns.reduce((sum, c) => sum + boxWidth(c) + GAP, -GAP);
  const inner = Math.max(allBoxes - 4, ...["the host", ...mappings, title].map((t) => t.length));
  const height = Math.max(0, ...columns.map((c) => c.lines.length));
  const sideBySide = (line: (column: (typeof columns)[number]) => string): string =>
    columns.map(line).join(" ".repeat(GAP));
  const row = (text: string): string => `│ ${text.padEnd(inner)} │`;
  return [
    `┌${"─".repeat(inner + 2)}┐`,
    row("the host"),
    ...mappings.map(row),
    row(""),
    row(title),
    row(branches(downs.map((x) => x - 2))),
    row(place(columns.map((c, i) => [(downs[i] ?? 0) - 2, c.port.hostLink]))),
    cut(`└${"─".repeat(inner + 2)}┘`, downs, "┬"),
    place(downs.map((x) => [x, "│"])),
    cut(
      sideBySide((c) => `┌${"─".repeat(c.width + 2)}┐`),
      downs,
      "┴",
    ),
    ...Array.from({ length: height }, (_, i) =>
      sideBySide((c) => `│ ${(c.lines[i] ?? "").padEnd(c.width)} │`),
    ),
    sideBySide((c) => `└${"─".repeat(c.width + 2)}┘`),
  ].join("\n");
}

/** A line that begins under the bridge's name and goes down at each place. */
function branches(downs: readonly number[]): string {
  const last = downs.at(-1);
  if (last === undefined) return "";
  return cut(cut(`└${"─".repeat(last)}`, downs, "┬"), [last], "┐");
}

/** Each text with its middle at its place. */
function place(texts: readonly (readonly [middle: number, text: string])[]): string {
  let line = "";
  for (const [middle, text] of texts) line = line.padEnd(middle - Math.floor(text.length / 2)) + text;
  return line;
}

/** The line with a character put in at each place. */
function cut(line: string, places: readonly number[], character: string): string {
  const characters = Array.from(line);
  for (const at of places) characters[at] = character;
  return characters.join("");
}
