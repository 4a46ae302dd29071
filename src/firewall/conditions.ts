import {
  contains,
  type Family,
  hostPrefix,
  type Ip,
  type IpPrefix,
  parseIp,
  parsePrefix,
} from "../net/ip.ts";
import type { Parsed } from "../net/brand.ts";
import { parseIfName } from "../net/ifname.ts";

/**
 * Conditions of a port mapping, as words of nft: `ip saddr != 192.0.2.0/24 iifname { eth0, eth1 }`. All of them have to
 * hold. Only what can be told of the first packet of a connection at the host's edge is understood: where it comes from, what
 * it is sent to, and by which link it came.
 */
export type Condition =
  | { readonly on: "saddr" | "daddr"; readonly not: boolean; readonly in: readonly IpPrefix[] }
  | { readonly on: "iifname"; readonly not: boolean; readonly in: readonly string[] };

/** The alternatives of lists in braces are multiplied: this many rules are enough for people, and few for a packet. */
export const MOST_ALTERNATIVES = 64;

/** Blanks divide words, and so do braces, commas and quotation marks, which nft does not need apart. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  let word = "";
  const end = (): void => {
    if (word !== "") words.push(word);
    word = "";
  };
  for (const c of text) {
    if (c === "{" || c === "}" || c === ",") {
      end();
      words.push(c);
    } else if (c === " " || c === "\t" || c === '"') end();
    else word += c;
  }
  end();
  return words;
}

/** Reads the words of one family. The failure says which word was not understood, and what would have been. */
export function parseConditions(words: readonly string[], family: Family): Parsed<readonly Condition[]> {
  const rest = wordsOf(words.join(" "));
  const conditions: Condition[] = [];
  while (rest.length > 0) {
    const one = parseOne(rest, family);
    if (!one.ok) return one;
    conditions.push(one.value);
  }
  const alternatives = conditions.reduce((n, c) => n * (c.not ? 1 : c.in.length), 1);
  if (alternatives > MOST_ALTERNATIVES)
    return no(`its lists have ${alternatives} combinations; at most ${MOST_ALTERNATIVES} are made`);
  return { ok: true, value: conditions };
}

const no = (why: string): { readonly ok: false; readonly why: string } => ({ ok: false, why });

function parseOne(rest: string[], family: Family): Parsed<Condition> {
  const protocol = family === 4 ? "ip" : "ip6";
  const known = `${protocol} saddr, ${protocol} daddr and iifname, each with an address, a prefix, a name, or a list in braces`;
  const first = rest.shift() ?? "";
  const field = first === protocol ? (rest.shift() ?? "") : first === "meta" ? (rest.shift() ?? "") : first;
  const named = first === protocol ? field === "saddr" || field === "daddr" : field === "iifname";
  if (!named)
    return no(`"${first === field ? first : `${first} ${field}`}" is not understood; known are ${known}`);
  const operators = ["!=", "ne", "==", "eq"];
  const operator = operators.includes(rest[0] ?? "") ? rest.shift() : "==";
  const not = operator === "!=" || operator === "ne";
  const values = takeValues(rest);
  if (values === undefined || values.length === 0)
    return no(`${first} ${field} has no value; known are ${known}`);
  if (field === "iifname") return namesOf(values, not);
  const prefixes: IpPrefix[] = [];
  for (const value of values) {
    const parsed = addressesOf(value);
    if (!parsed.ok) return parsed;
    if (parsed.value.ip.family !== family) return no(`${value} is no address of ${protocol}`);
    prefixes.push(parsed.value);
  }
  return { ok: true, value: { on: field === "saddr" ? "saddr" : "daddr", not, in: prefixes } };
}

function addressesOf(value: string): Parsed<IpPrefix> {
  if (value.includes("/")) return parsePrefix(value);
  const ip = parseIp(value);
  return ip.ok ? { ok: true, value: hostPrefix(ip.value) } : ip;
}

function namesOf(values: readonly string[], not: boolean): Parsed<Condition> {
  for (const value of values) {
    const name = parseIfName(value);
    if (!name.ok) return name;
    if (value.includes("*")) return no(`"${value}" is a pattern; only whole names are understood`);
  }
  return { ok: true, value: { on: "iifname", not, in: values } };
}

/** One value, or those of a list in braces; undefined if a brace stays open. */
function takeValues(rest: string[]): string[] | undefined {
  const first = rest.shift();
  if (first !== "{") return first === undefined || first === "}" || first === "," ? undefined : [first];
  const values: string[] = [];
  for (let word = rest.shift(); word !== "}"; word = rest.shift()) {
    if (word === undefined) return undefined;
    if (word !== ",") values.push(word);
  }
  return values;
}

/** Whether a connection could be meant: links are not known of one that is tracked. */
export const mayFit = (
  conditions: readonly Condition[],
  { source, destination }: { readonly source: Ip; readonly destination: Ip },
): boolean =>
  conditions.every((c) => {
    if (c.on === "iifname") return true;
    const ip = c.on === "saddr" ? source : destination;
    return c.in.some((p) => contains(p, ip)) !== c.not;
  });
