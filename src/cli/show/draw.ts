import { age } from "../ps/table.ts";
import { showPort } from "../ps/entry.ts";
import { printable } from "../terminal.ts";
import type { Description, Limit, ShownLink, ShownRule, Station } from "./description.ts";

/**
 * Draws a described attachment: boxes from the container to the uplink, and between them what leads from one to the next.
 * Pure; a line has at most `width` characters, longer ones go on in the next.
 */
export interface DrawOptions {
  readonly width: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A line with a word in front, such as an address or a route. */
type Row = readonly [label: string, text: string];

export const draw = (d: Description, options: DrawOptions): readonly string[] =>
  drawn(d, options).map(printable);

function drawn(d: Description, { width, now }: DrawOptions): readonly string[] {
  const inner = width - 4;
  const boxes = d.path.map((s) => boxOf(s, d));
  const rows = boxes.flatMap((box) => box.rows);
  const gutter = Math.min(MAX_GUTTER, Math.max(MIN_GUTTER, ...rows.map(([label]) => label.length + 2)));
  const content = Math.max(
    MIN_CONTENT,
    ...rows.map(([, text]) => gutter + text.length),
    ...boxes.map(({ title }) => title.length + 6),
  );
  const columns = { wide: Math.min(inner, content), gutter };
  const end = endOf(d);
  return [
    ...heading(d, now, width),
    "",
    ...boxes.flatMap((box, i) => [
      ...(i === 0 ? [] : connector(connection(d, d.path[i]), width)),
      ...drawBox(box, columns, { above: i > 0, below: i < boxes.length - 1 || end.length > 0 }),
    ]),
    ...(boxes.length === 0 ? ["no link of it is left"] : connector(end, width)),
    ...rulesOf(d.rules, width),
  ];
}

/** Width of the labels in front of rows: the names of links are among them. */
const MIN_GUTTER = 10;
const MAX_GUTTER = 17;
const MIN_CONTENT = 40;

function heading(d: Description, now: number, width: number): readonly string[] {
  const since = d.since === null ? "" : `, attached ${age(now - Date.parse(d.since))} ago`;
  const why = d.why === null ? "" : `: ${d.why}`;
  return [
    ...wrap(
      `${d.ifname ?? "an interface"} of ${named("container", d.containerId)} on ${named("network", d.network)}`,
      width,
    ),
    ...wrap(`key ${d.key}, by ${d.plugins.join(", ")}${since}`, width),
    ...wrap(`${d.state}${why}`, width),
    ...d.findings.flatMap((f) =>
      wrap(`! ${f.component}: ${f.what}: want ${f.wanted}, found ${f.found}`, width, "  "),
    ),
  ];
}

const named = (what: string, name: string | null): string =>
  name === null ? `an unknown ${what}` : `${what} ${name}`;

interface Box {
  readonly title: string;
  readonly rows: readonly Row[];
}

function boxOf(s: Station, d: Description): Box {
  const start = s.by === "start";
  const dns = start && d.dns !== null ? dnsText(d.dns) : undefined;
  return {
    title: start ? `container ${d.netns ?? ""}`.trimEnd() : s.place,
    rows: [
      [s.name, s.link === null ? "is not there" : linkText(s.link)],
      ...labelled("", s.port === null ? [] : portTexts(s.port)),
      ...(s.ports === null ? [] : [["", `${s.ports} port${s.ports === 1 ? "" : "s"}`] as const]),
      ...labelled(
        "address",
        s.addresses
          .filter((a) => !a.linkLocal)
          .map((a) => a.address + (a.state === "usable" ? "" : `, ${a.state}`)),
      ),
      ...labelled("route", s.routes.filter(isWorthIt).map(routeText)),
      ...labelled("rule", s.routingRules),
      ...labelled("dns", dns === undefined ? [] : [dns]),
      ...labelled("limit", s.limits.map(limitText)),
    ],
  };
}

/** A container may have as many routes as it likes; `--json` has all. */
const MOST_ROWS = 20;

const labelled = (label: string, texts: readonly string[]): readonly Row[] =>
  [
    ...texts.slice(0, MOST_ROWS),
    ...(texts.length > MOST_ROWS ? [`and ${texts.length - MOST_ROWS} more`] : []),
  ].map((text, i) => [i === 0 ? label : "", text]);

/** What tells links of one kind apart. */
const TELLING: readonly string[] = ["mode", "id", "table"];

function linkText({ kind, parameters, mac, mtu, up, operState }: ShownLink): string {
  const more = Object.entries(parameters)
    .filter(([name]) => TELLING.includes(name))
    .map(([name, value]) => `${name} ${value}`);
  // A link without a carrier is up in vain.
  const state = up ? (["up", "unknown"].includes(operState) ? "up" : `up, in state ${operState}`) : "down";
  return [kind, ...more, ...(mac === null ? [] : [mac]), `MTU ${mtu}`, state].join(", ");
}

function portTexts(port: NonNullable<Station["port"]>): readonly string[] {
  const words = [
    ...(port.forwarding ? [] : ["does not forward"]),
    ...(port.hairpin ? ["hairpin"] : []),
    ...(port.isolated ? ["isolated"] : []),
    ...(port.vlan === null ? [] : [`VLAN ${port.vlan}`]),
    ...(port.taggedVlans.length === 0 ? [] : [`tagged VLANs ${ranges(port.taggedVlans)}`]),
  ];
  return words.length === 0 ? [] : [`port: ${words.join(", ")}`];
}

/** `1, 3 to 7`. */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of numbers) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === n - 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([from, to]) => (from === to ? String(from) : `${from} to ${to}`)).join(", ");
}

/** What every link with IPv6 has says nothing of this one. */
const isWorthIt = ({ dst }: Station["routes"][number]): boolean => dst !== "fe80::/64" && dst !== "ff00::/8";

const MAIN = 254;
const routeText = ({ dst, gateway, src, metric, table }: Station["routes"][number]): string =>
  [
    dst,
    ...(gateway === null ? [] : [`via ${gateway}`]),
    ...(src === null ? [] : [`from ${src}`]),
    ...(metric === null ? [] : [`metric ${metric}`]),
    ...(table === MAIN ? [] : [`in table ${table}`]),
  ].join(" ");

const dnsText = ({ nameservers, search }: NonNullable<Description["dns"]>): string =>
  [nameservers.join(", "), ...(search.length === 0 ? [] : [`search ${search.join(" ")}`])]
    .filter((s) => s !== "")
    .join("; ");

const limitText = ({ direction, bitsPerSecond, burstBytes, on }: Limit): string =>
  `${direction} ${scaled(bitsPerSecond, 1000)}bit/s, burst ${scaled(burstBytes, 1000)}B, by ${on}`;

/** `8 M`, `1.5 k`. */
function scaled(n: number, step: number): string {
  const units = ["", "k", "M", "G", "T"];
  let value = n;
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit++;
  }
  return `${Number(value.toFixed(2))} ${units[unit] ?? ""}`;
}

const relation: { readonly [B in Station["by"]]: string } = {
  start: "",
  pair: "the other end of the pair",
  port: "a port of",
  below: "hangs on",
  gateway: "the host's interface in the VLAN",
  route: "routed to",
};

/** Between two boxes: how one comes to the next, and what happens there. */
function connection(d: Description, to: Station | undefined): readonly string[] {
  if (to === undefined) return [];
  return [relation[to.by], ...(to.by === "route" ? routingOf(d) : [])];
}

/** Behind the last box, where packets would be routed and no uplink is. */
const endOf = (d: Description): readonly string[] =>
  Object.keys(d.forwarding).length === 0 || d.path.some((s) => s.by === "route")
    ? []
    : ["no other link has a default route", ...routingOf(d)];

const routingOf = ({ forwarding: { ipv4, ipv6 }, ports }: Description): readonly string[] => [
  ...(ipv4 === undefined ? [] : [`IPv4 forwarding is ${ipv4 ? "on" : "OFF"}`]),
  ...(ipv6 === undefined ? [] : [`IPv6 forwarding is ${ipv6 ? "on" : "OFF"}`]),
  ...ports.map((p) => `host port ${showPort(p)}${p.live ? "" : " IS NOT MAPPED"}`),
];

const connector = (lines: readonly string[], width: number): readonly string[] =>
  lines.flatMap((line) => wrap(line, width - 5)).map((line) => `   │ ${line}`);

interface Joints {
  readonly above: boolean;
  readonly below: boolean;
}

function drawBox(
  { title, rows }: Box,
  { wide, gutter }: { readonly wide: number; readonly gutter: number },
  { above, below }: Joints,
): readonly string[] {
  const edge = (left: string, joint: boolean, right: string, text: string): string => {
    const [dash, mark] = ["─", left === "┌" ? "┴" : "┬"];
    return `${left}${dash}${dash}${joint ? mark : dash}${text}${dash.repeat(Math.max(0, wide - 1 - text.length))}${right}`;
  };
  const head = title.length > wide - 4 ? `${title.slice(0, wide - 5)}…` : title;
  return [
    edge("┌", above, "┐", ` ${head} `),
    ...rows.flatMap(([label, text]) =>
      wrap(text, wide - gutter).map(
        (part, i) => `│ ${`${(i === 0 ? label : "").padEnd(gutter)}${part}`.padEnd(wide)} │`,
      ),
    ),
    edge("└", below, "┘", ""),
  ];
}

/** Rules behind one another, with the ways by which packets come to them. */
function rulesOf(rules: readonly ShownRule[], width: number): readonly string[] {
  if (rules.length === 0) return [];
  const lines = ["", "firewall"];
  const groups = Map.groupBy(rules, (r) => `${r.plugin}: ${r.backend}, ${r.where}`);
  for (const [where, group] of groups) {
    lines.push(...wrap(`  ${where}`, width, "    "));
    for (const rule of group) lines.push(...wrap(`    ${rule.text}`, width, "      "));
    for (const then of new Set(group.flatMap((r) => r.leadsTo)))
      lines.push(...wrap(`      there: ${then}`, width, "        "));
    const ways = new Set(group.flatMap((r) => r.via));
    for (const via of ways) lines.push(...wrap(`      from ${via}`, width, "        "));
    if (group.some((r) => r.via.length === 0)) lines.push("      ! no packet comes to it");
  }
  return lines;
}

/** Breaks a line between words; what is behind goes on with `indent`. A word that is too long is broken itself. */
export function wrap(text: string, width: number, indent = ""): readonly string[] {
  if (text.length <= width) return [text];
  const at = text.lastIndexOf(" ", width);
  const end = at > indent.length ? at : width;
  const rest = text.slice(end).trimStart();
  return [text.slice(0, end), ...wrap(indent + rest, width, indent)];
}
