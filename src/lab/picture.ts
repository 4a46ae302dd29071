/**
 * A lab as a picture of characters: the router, below it each subnet as a line with its hosts hanging on it, and in every host
 * what is in it. Pure; a line has at most `width` characters if the widest host fits.
 */
import type { Fault } from "./model.ts";
import type { SeenHost, SeenLab, SeenProgram } from "./look.ts";

/** A box with a title in its upper edge. */
export interface Box {
  readonly host: SeenHost;
  readonly lines: readonly string[];
  /** Of the text. */
  readonly width: number;
}

/** Between two boxes; from a box's edge to its cable; in front of a row. */
const GAP = 2;
const HANG = 3;
const MARGIN = 3;

export function drawLab(lab: SeenLab, width: number): readonly string[] {
  const rows = layOut(lab, width - MARGIN);
  return [
    headline(lab),
    ...drawFaults(lab).map((words) => `! ${words}`),
    "",
    routerText(lab),
    ...rows.flatMap((row, i) => drawRow(row, i === rows.length - 1)),
  ];
}

export const routerText = ({ outside, routerPrograms }: SeenLab): string =>
  ["router", `outside ${outside.join(", ")}`, ...routerPrograms.map(programText)].join("  ");

const programText = ({ name, state }: SeenProgram): string =>
  `${name} ${state === "running" ? "runs" : state.toUpperCase()}`;

/** What the lab is, in a line. */
export function headline({ spec }: Pick<SeenLab, "spec">): string {
  const words = [
    `${spec.hosts} host${spec.hosts === 1 ? "" : "s"}`,
    `${spec.underlay} underlay`,
    spec.ip === "dual" ? "IPv4 and IPv6" : `IPv${spec.ip}`,
    `MTU ${spec.mtuBytes}`,
    ...(spec.offload ? [] : ["no offloads"]),
    spec.backend === "" ? "no provider" : `provider ${spec.provider} ${spec.backend}`,
  ];
  return `lab ${spec.name}: ${words.join(", ")}`;
}

/** What is broken on purpose, a sentence each. */
export const drawFaults = ({ faults }: SeenLab): readonly string[] => faults.map(faultText);

function faultText(fault: Fault): string {
  switch (fault.kind) {
    case "cut":
      return `${fault.host} is cut off`;
    case "partition":
      return `nothing passes between ${fault.one.join(", ")} and ${fault.other.join(", ")}`;
    case "delay":
      return `what is sent to ${fault.host} arrives ${fault.delayMs} ms later`;
    case "loss":
      return `of what is sent to ${fault.host} ${fault.percent} % is lost`;
  }
}

/** What a host's box says, a line each; the lines of a container begin with a mark. */
export function hostLines({ uplink, containers, programs }: SeenHost): readonly string[] {
  const state =
    uplink.state === "up" ? "" : ` ${uplink.state === "cut" ? "CUT" : uplink.state.toUpperCase()}`;
  return [
    `${uplink.name}${state}`,
    ...uplink.addresses.map((address) => `  ${address}`),
    ...programs.map(programText),
    ...containers.flatMap(({ name, addresses, there }) => [
      `■ ${name}${there ? "" : " GONE"}`,
      ...addresses.map((address) => `  ${address}`),
    ]),
  ];
}

/** The hosts of one subnet that stand beside one another, with where their boxes begin, in characters. */
export interface Row {
  readonly bridge: string;
  /** On the line that they hang on: the subnet's addresses with its first hosts. */
  readonly label: string;
  readonly boxes: readonly (Box & { readonly x: number })[];
}

/** Which hosts stand in which row; a line has at most `width` characters, or one host. */
export function layOut({ hosts, subnets }: SeenLab, width: number): readonly Row[] {
  return subnets.flatMap(({ bridge, addresses }) => {
    const rows: (Box & { readonly x: number })[][] = [[]];
    for (const host of hosts.filter((h) => h.bridge === bridge)) {
      const box = boxOf(host);
      const last = rows.at(-1)?.at(-1);
      const x = last === undefined ? 0 : last.x + outerWidth(last) + GAP;
      if (last !== undefined && x + outerWidth(box) > width) rows.push([{ ...box, x: 0 }]);
      else rows.at(-1)?.push({ ...box, x });
    }
    return rows.map((boxes, i) => ({
      bridge,
      boxes,
      label: i === 0 ? `${bridge} ${addresses.join(" ")}` : bridge,
    }));
  });
}

function boxOf(host: SeenHost): Box {
  const lines = hostLines(host);
  return { host, lines, width: Math.max(host.name.length + 2, ...lines.map((line) => line.length)) };
}
/** With its edges. */
export const outerWidth = (box: Box): number => box.width + 4;

/** A subnet's line comes out of the one that leads down from the router. */
function drawRow(row: Row, isLast: boolean): readonly string[] {
  const [branch, trunk] = isLast ? ["└", " "] : ["├", "│"];
  return [
    "│",
    ...drawHosts(row).map((line, i) => `${i === 0 ? `${branch}──` : `${trunk}  `}${line}`.trimEnd()),
  ];
}

function drawHosts({ boxes, label }: Row): readonly string[] {
  const hangs = boxes.map(({ x }) => x + HANG);
  const height = Math.max(0, ...boxes.map(({ lines }) => lines.length));
  const beside = (draw: (box: Box) => string): string => boxes.map(draw).join(" ".repeat(GAP));
  const bus = "─".repeat((hangs.at(-1) ?? -1) + 2);
  const line = `${put(bus, hangs, () => "┬")} ${label} ─`;
  if (boxes.length === 0) return [line];
  return [
    line,
    put(" ".repeat(bus.length), hangs, (i) => (boxes[i]?.host.uplink.state === "up" ? "│" : "╳")),
    beside(({ host, width }) => `┌${`─ ${host.name} `.padEnd(width + 2, "─")}┐`),
    ...Array.from({ length: height }, (_, i) =>
      beside(({ lines, width }) => `│ ${(lines[i] ?? "").padEnd(width)} │`),
    ),
    beside(({ width }) => `└${"─".repeat(width + 2)}┘`),
  ];
}

/** The line with a character put in at each place. */
function put(line: string, places: readonly number[], character: (nth: number) => string): string {
  const characters = Array.from(line);
  places.forEach((at, i) => (characters[at] = character(i)));
  return characters.join("");
}
