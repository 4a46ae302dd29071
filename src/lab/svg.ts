/** The same picture as `picture.ts` draws, as an SVG for documents and browsers. Pure; it names no font file and no script. */
import type { SeenLab } from "./look.ts";
import { drawFaults, headline, layOut, outerWidth, routerText, type Row } from "./picture.ts";

/** Hosts in a row as on a page of this many characters. */
const COLUMNS = 110;
/** A character of the fixed-width font, and what is around things, in pixels. */
const CHARACTER = 7.8;
const LINE = 18;
const PAD = 10;
const CABLE = 34;
const LEFT = 40;
const TOP = 24;

const style = [
  "svg{background:#fff}",
  "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#222}",
  ".title{font-weight:bold}.fault{fill:#b3261e;font-weight:bold}",
  ".line{stroke:#3b6ea5;stroke-width:3;fill:none}.cable{stroke:#3b6ea5;stroke-width:2}",
  ".cut{stroke:#b3261e;stroke-dasharray:3 5}",
  ".host{fill:#f3f7fb;stroke:#3b6ea5;stroke-width:1.5}",
].join("");

/** Names and addresses stand in text only, where these three have a meaning. */
const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const text = (x: number, y: number, words: string, kind = ""): string =>
  `<text x="${round(x)}" y="${round(y)}"${kind === "" ? "" : ` class="${kind}"`} xml:space="preserve">${escape(words)}</text>`;
const line = (x1: number, y1: number, x2: number, y2: number, kind: string): string =>
  `<path d="M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}" class="${kind}"/>`;
const round = (n: number): number => Math.round(n * 10) / 10;

interface Drawn {
  readonly parts: readonly string[];
  readonly right: number;
  readonly height: number;
}

export function drawSvg(lab: SeenLab): string {
  const rows = layOut(lab, COLUMNS);
  const head = [
    text(PAD, TOP, headline(lab), "title"),
    ...drawFaults(lab).map((words, i) => text(PAD, TOP + (i + 1) * LINE, words, "fault")),
  ];
  const router = TOP + (head.length + 1) * LINE;
  let y = router + PAD;
  const parts = [...head, text(PAD, router, routerText(lab), "title")];
  let width = Math.max(headline(lab).length, routerText(lab).length) * CHARACTER + 2 * PAD;
  let busAt = y;
  for (const row of rows) {
    busAt = y + CABLE / 2;
    const drawn = drawRow(row, busAt);
    parts.push(...drawn.parts);
    width = Math.max(width, drawn.right + PAD);
    y += drawn.height + CABLE / 2;
  }
  parts.push(line(PAD * 2, router + PAD / 2, PAD * 2, busAt, "line"));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${Math.ceil(y + PAD)}">`,
    `<style>${style}</style>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

function drawRow({ boxes, label }: Row, busAt: number): Drawn {
  const top = busAt + CABLE;
  const left = (x: number): number => LEFT + x * CHARACTER;
  const cables = boxes.map(({ x }) => left(x) + 3 * CHARACTER);
  const end = Math.max(LEFT, ...cables) + 2 * CHARACTER;
  const height = Math.max(0, ...boxes.map(({ lines }) => lines.length + 1)) * LINE + 2 * PAD;
  return {
    parts: [
      line(PAD * 2, busAt, end, busAt, "line"),
      text(end + CHARACTER, busAt + 4, label),
      ...boxes.flatMap((box, i) => [
        line(
          cables[i] ?? 0,
          busAt,
          cables[i] ?? 0,
          top,
          box.host.uplink.state === "up" ? "cable" : "cable cut",
        ),
        `<rect x="${round(left(box.x))}" y="${round(top)}" width="${round(outerWidth(box) * CHARACTER)}" height="${height}" rx="6" class="host"/>`,
        text(left(box.x) + PAD, top + LINE + 2, box.host.name, "title"),
        ...box.lines.map((words, at) => text(left(box.x) + PAD, top + (at + 2) * LINE + 2, words)),
      ]),
    ],
    right: Math.max(
      end + (label.length + 2) * CHARACTER,
      ...boxes.map((box) => left(box.x) + outerWidth(box) * CHARACTER),
    ),
    height: CABLE + (boxes.length === 0 ? 0 : height),
  };
}
