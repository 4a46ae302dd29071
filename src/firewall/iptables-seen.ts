import type { Family } from "../net/ip.ts";
import { forwardOf } from "./iptables-forward.ts";
import { markOf } from "./iptables-plan.ts";
import { type Run, savedTables } from "./iptables-run.ts";
import type { SavedRule, SavedTable } from "./iptables-save.ts";
import type { Mark } from "./model.ts";
import type { SeenPort, SeenRule } from "./seen.ts";

/** What an attachment has in iptables: its chains with what leads to them, and its rules in the chain FORWARD. */
export function seeIptables(run: Run, family: Family, marks: ReadonlySet<Mark>): readonly SeenRule[] {
  const tables = savedTables(run, family);
  const nat = tables?.get("nat");
  const filter = tables?.get("filter");
  const place = (table: string, { chain }: SavedRule): string =>
    `${family === 4 ? "ip" : "ip6"} ${table} ${chain}`;
  return [
    ...(nat ? seenInNat(nat, marks, (rule) => place("nat", rule)) : []),
    ...(filter ? seenInFilter(filter, marks, (rule) => place("filter", rule)) : []),
  ];
}

type Place = (rule: SavedRule) => string;

function seenInNat(nat: SavedTable, marks: ReadonlySet<Mark>, place: Place): SeenRule[] {
  return [...nat].flatMap(([name, rules]) => {
    const mark = markOf(rules);
    if (mark === undefined || !marks.has(mark)) return [];
    const jumps = rulesTo(nat, name);
    return [
      ...jumps.map((rule) => see(nat, rule, mark, place(rule))),
      // The first is the mark itself.
      ...rules.slice(1).map((rule) => see(nat, rule, mark, place(rule))),
    ];
  });
}

function seenInFilter(filter: SavedTable, marks: ReadonlySet<Mark>, place: Place): SeenRule[] {
  return [...marks].flatMap((mark) =>
    forwardOf(filter, mark).map((rule) => see(filter, rule, mark, place(rule))),
  );
}

function see(table: SavedTable, rule: SavedRule, mark: Mark, where: string): SeenRule {
  const port = portOf(rule);
  return {
    backend: "iptables",
    mark,
    where,
    text: rule.text,
    via: waysTo(table, rule.chain, new Set()).map((chains) => chains.join(", ")),
    leadsTo: [],
    ...(port ? { port } : {}),
  };
}

const rulesTo = (table: SavedTable, chain: string): readonly SavedRule[] =>
  [...table.values()].flatMap((rules) => rules.filter((r) => r.target === chain));

/** The kernel enters a table by these chains. */
const HOOKS: readonly string[] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/** Each way from a hook to the chain, by the names of chains. */
function waysTo(
  table: SavedTable,
  chain: string,
  visited: ReadonlySet<string>,
): readonly (readonly string[])[] {
  if (HOOKS.includes(chain)) return [[chain]];
  if (visited.has(chain)) return [];
  const further = new Set([...visited, chain]);
  return rulesTo(table, chain).flatMap((rule) =>
    waysTo(table, rule.chain, further).map((chains) => [...chains, chain]),
  );
}

function portOf({ words, target }: SavedRule): SeenPort | undefined {
  if (target !== "DNAT") return undefined;
  const after = (word: string): string | undefined => {
    const at = words.indexOf(word);
    return at < 0 ? undefined : words[at + 1];
  };
  const hostIp = after("-d")?.replace(/\/\d+$/, "");
  return {
    protocol: after("-p") ?? "",
    ...(hostIp === undefined ? {} : { hostIp }),
    hostPort: Number(after("--dport")),
    containerPort: Number(after("--to-destination")?.split(":").at(-1)),
  };
}
