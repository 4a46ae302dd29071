import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Scalar } from "../nft/data-types.ts";
import { listChains, listRules } from "../nft/list.ts";
import { type ChainInfo, isVerdict, type RuleInfo, type SetSpec, type TableRef } from "../nft/model.ts";
import { printRule, printVerdict, protocolName } from "../nft/print.ts";
import type { Mark } from "./model.ts";
import { listMarked } from "./nftables-marked.ts";
import type { Placed } from "./nftables-parts.ts";
import type { SeenPort, SeenRule } from "./seen.ts";

/** What an attachment has in our tables of nftables, with the rules that look at it: all of it read from the kernel. */
export function seeNftables(socket: NetlinkSocket, marks: ReadonlySet<Mark>): readonly SeenRule[] {
  const elements = listMarked(socket, (m) => marks.has(m));
  const tables = new Map(elements.map(({ table }) => [`${table.family} ${table.table}`, table]));
  const chains = tables.size === 0 ? [] : listChains(socket);
  const read = new Map([...tables].map(([name, t]) => [name, tableOf(socket, t, chains, elements)]));
  return elements.map((p) => seen(p, read.get(`${p.table.family} ${p.table.table}`) ?? emptyTable));
}

/** A table of the kernel, as far as it says how packets come to an element. */
interface Table {
  readonly chains: ReadonlyMap<string, ChainInfo>;
  readonly rules: readonly RuleInfo[];
  /** Sets of ours with an element that leads to the chain. */
  readonly leading: ReadonlyMap<string, ReadonlySet<string>>;
}
const emptyTable: Table = { chains: new Map(), rules: [], leading: new Map() };

function tableOf(
  socket: NetlinkSocket,
  t: TableRef,
  chains: readonly ChainInfo[],
  elements: readonly Placed[],
): Table {
  const leading = new Map<string, Set<string>>();
  for (const { table, set, element } of elements) {
    const chain = chainOf(element.data);
    if (chain !== undefined && table.family === t.family)
      leading.set(chain, (leading.get(chain) ?? new Set()).add(set.name));
  }
  return {
    chains: new Map(
      chains.filter((c) => c.family === t.family && c.table === t.table).map((c) => [c.chain, c]),
    ),
    rules: listRules(socket, t),
    leading,
  };
}

function chainOf(data: Placed["element"]["data"]): string | undefined {
  if (data === undefined || !isVerdict(data) || typeof data === "string") return undefined;
  return "jump" in data ? data.jump : data.goto;
}

function seen({ table, set, element }: Placed, all: Table): SeenRule {
  const chain = chainOf(element.data);
  const port = portOf(set, element);
  return {
    backend: "nftables",
    mark: element.comment ?? "",
    where: `${table.family} ${table.table}, ${set.name}`,
    text: printElement(set, element),
    via: waysToSet(set.name, all, new Set()).map((steps) => steps.join("; ")),
    leadsTo: chain === undefined ? [] : all.rules.filter((r) => r.chain === chain).map(printRule),
    ...(port ? { port } : {}),
  };
}

/** Each way from a hook to a rule that looks the set up. */
function waysToSet(set: string, table: Table, visited: ReadonlySet<string>): readonly (readonly string[])[] {
  const users = table.rules.filter((r) => r.expressions.some((e) => e.kind === "lookup" && e.set === set));
  return users.flatMap((r) => waysToChain(r.chain, table, visited).map((steps) => [...steps, printRule(r)]));
}

function waysToChain(
  name: string,
  table: Table,
  visited: ReadonlySet<string>,
): readonly (readonly string[])[] {
  const base = table.chains.get(name)?.base;
  if (base !== undefined) return [[`${base.hook}, priority ${base.priority}`]];
  if (visited.has(name)) return [];
  const further = new Set([...visited, name]);
  const callers = table.rules.filter((r) =>
    r.expressions.some((e) => e.kind === "immediate" && chainOf(e.verdict) === name),
  );
  return [
    ...callers.flatMap((r) => waysToChain(r.chain, table, further).map((steps) => [...steps, printRule(r)])),
    ...[...(table.leading.get(name) ?? [])].flatMap((set) => waysToSet(set, table, further)),
  ];
}

/** An element as nft prints it, without its comment. */
export function printElement({ key, data }: SetSpec, element: Placed["element"]): string {
  const left = element.key.map((value, i) => printScalar(key[i], value)).join(" . ");
  if (element.data === undefined) return left;
  if (isVerdict(element.data)) return `${left} : ${printVerdict(element.data)}`;
  const types = Array.isArray(data) ? (data as SetSpec["key"]) : [];
  return `${left} : ${element.data.map((value, i) => printScalar(types[i], value)).join(" . ")}`;
}

function printScalar(type: SetSpec["key"][number] | undefined, value: Scalar): string {
  if (typeof value === "object") return value.text;
  if (type === "inet_proto") return protocolName(Number(value));
  return type === "ifname" ? `"${value}"` : String(value);
}

/** A map from a port of the host, and perhaps an address of it, to an address and a port. */
function portOf({ key }: SetSpec, { key: values, data }: Placed["element"]): SeenPort | undefined {
  if (data === undefined || isVerdict(data) || key.at(-1) !== "inet_service") return undefined;
  const [address] = values.length > 2 ? values : [];
  return {
    protocol: protocolName(Number(values.at(-2))),
    ...(typeof address === "object" ? { hostIp: address.text } : {}),
    hostPort: Number(values.at(-1)),
    containerPort: Number(data[1]),
  };
}
