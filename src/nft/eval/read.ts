/**
 * Reads the rule set of a namespace for evaluation. Chains and rules are read at once, sets when they are asked for; what
 * somebody changes after that is not seen.
 */
import type { Message } from "../../netlink/message.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { type Attr, attrs, cstr, fixedAttr, listOf } from "../../wire/attrs.ts";
import { be32 } from "../../wire/fixed.ts";
import {
  dataAttrs,
  exprAttrs,
  families,
  NFT_MSG,
  nfgenmsg,
  ruleAttrs,
  setAttrs,
  SUBSYSTEM,
  tableAttrs,
  type NftFamily,
} from "../attrs.ts";
import { hookNumbers, nftBody, nftRequest } from "../batch.ts";
import { decodeExpr } from "../expr.ts";
import { nameOf } from "../expr/expression.ts";
import type { RuleInfo, TableRef } from "../model.ts";
import { decodeComment } from "../udata.ts";
import { decodeVerdict } from "../verdict.ts";
import {
  type BaseChain,
  type Boundary,
  type HookName,
  rangesOf,
  type RuleSet,
  type SetContent,
  type SetElement,
  tableName,
} from "./rule-set.ts";

const number = fixedAttr(be32);
const attributes = (m: Message): Uint8Array => m.body.subarray(nfgenmsg.size);
const familyOf = (m: Message): NftFamily | undefined => nameOf(families, m.body[0]);
const isA = (verb: keyof typeof NFT_MSG) => (m: Message) => m.type === ((SUBSYSTEM << 8) | NFT_MSG[verb]);

function list<T>(
  socket: NetlinkSocket,
  verb: "TABLE" | "CHAIN" | "RULE",
  table: Attr<T>,
  value: T,
): Message[] {
  return socket
    .dump(nftRequest(`GET${verb}`, "all", 0, nftBody(undefined, table, value)))
    .filter(isA(`NEW${verb}`));
}

/** The whole rule set of the namespace that the socket is of, which has to stay open while sets are asked for. */
export function readRuleSet(socket: NetlinkSocket): RuleSet {
  const dormant = dormantTables(socket);
  const rules = Map.groupBy(readRules(socket), ({ of }) => of);
  const sets = new Map<string, SetContent | undefined>();
  return {
    bases: readBases(socket).filter((b) => !dormant.has(tableName(b))),
    chain: (table, name) => rules.get(chainKey(table, name))?.map(({ rule }) => rule) ?? [],
    set(table, name) {
      const key = chainKey(table, name);
      if (!sets.has(key)) sets.set(key, readSet(socket, table, name));
      return sets.get(key);
    },
  };
}

const chainKey = (t: TableRef, name: string): string => `${tableName(t)} ${name}`;

/** NFT_TABLE_F_DORMANT: its chains are not registered. */
const DORMANT = 1;
function dormantTables(socket: NetlinkSocket): ReadonlySet<string> {
  const found = list(socket, "TABLE", tableAttrs, {}).flatMap((m) => {
    const { name, flags = 0 } = tableAttrs.decode(attributes(m));
    const family = familyOf(m);
    return name !== undefined && family !== undefined && (flags & DORMANT) !== 0
      ? [{ family, table: name }]
      : [];
  });
  return new Set(found.map(tableName));
}

const hookAttrs = attrs("NFTA_HOOK", {
  number: [1, number],
  priority: [2, number],
  device: [3, cstr],
  devices: [4, listOf("NFTA_HOOK_DEVS", 1, cstr)],
});
const chainAttrs = attrs("NFTA_CHAIN", {
  table: [1, cstr],
  name: [3, cstr],
  hook: [4, hookAttrs],
  policy: [5, number],
  type: [7, cstr],
});

/** NF_NETDEV_*, NF_ARP_* and NF_INET_INGRESS: other families have numbers of their own. */
const otherHooks: Readonly<Partial<Record<NftFamily, readonly (HookName | undefined)[]>>> = {
  netdev: ["ingress", "egress"],
  arp: ["input", "output", "forward"],
};
const INET_INGRESS = 5;

function hookOf(family: NftFamily, n: number): HookName | undefined {
  const other = otherHooks[family];
  if (other) return other[n];
  return n === INET_INGRESS ? "ingress" : nameOf(hookNumbers, n);
}

function readBases(socket: NetlinkSocket): readonly BaseChain[] {
  return list(socket, "CHAIN", chainAttrs, {}).flatMap((m) => {
    const a = chainAttrs.decode(attributes(m));
    const family = familyOf(m);
    if (family === undefined || a.hook === undefined || a.table === undefined) return [];
    const hook = hookOf(family, a.hook.number ?? 0);
    if (hook === undefined) return [];
    const devices = a.hook.devices ?? (a.hook.device === undefined ? [] : [a.hook.device]);
    const type = a.type === "nat" || a.type === "route" ? a.type : "filter";
    return [
      {
        family,
        table: a.table,
        chain: a.name ?? "",
        type,
        hook,
        priority: (a.hook.priority ?? 0) | 0,
        policy: a.policy === 0 ? "drop" : "accept",
        ...(devices.length > 0 ? { devices } : {}),
      },
    ];
  });
}

function readRules(socket: NetlinkSocket): readonly { readonly of: string; readonly rule: RuleInfo }[] {
  return list(socket, "RULE", ruleAttrs, {}).flatMap((m) => {
    const a = ruleAttrs.decode(attributes(m));
    const family = familyOf(m);
    if (family === undefined || a.table === undefined) return [];
    const comment = decodeComment(a.userdata);
    const rule = {
      chain: a.chain ?? "",
      handle: a.handle ?? 0n,
      expressions: (a.expressions ?? []).map(decodeExpr),
      ...(comment === undefined ? {} : { comment }),
    };
    return [{ of: chainKey({ family, table: a.table }, rule.chain), rule }];
  });
}

/** NFT_SET_INTERVAL; NFT_SET_ELEM_INTERVAL_END and _CATCHALL. */
const INTERVAL = 0x4;
const INTERVAL_END = 1;
const CATCHALL = 2;

const fieldAttrs = attrs("NFTA_SET_FIELD", { length: [1, number] });
const descriptionAttrs = attrs("NFTA_SET_DESC", {
  size: [1, number],
  fields: [2, listOf("NFTA_SET_DESC_CONCAT", 1, fieldAttrs)],
});
const wholeSetAttrs = attrs("NFTA_SET", { ...setAttrs.table, description: [9, descriptionAttrs] });

const elementAttrs = attrs("NFTA_SET_ELEM", {
  key: [1, dataAttrs],
  data: [2, dataAttrs],
  flags: [3, number],
  expression: [7, exprAttrs],
  keyEnd: [10, dataAttrs],
  expressions: [11, listOf("NFTA_SET_ELEM_EXPRESSIONS", 1, exprAttrs)],
});
const elementsAttrs = attrs("NFTA_SET_ELEM_LIST", {
  table: [1, cstr],
  set: [2, cstr],
  elements: [3, listOf("NFTA_SET_ELEM_LIST_ELEMENTS", 1, elementAttrs)],
});
type ElementAttrs = ReturnType<typeof elementAttrs.decode>;

function readSet(socket: NetlinkSocket, { family, table }: TableRef, name: string): SetContent | undefined {
  const on = `${family} ${table} ${name}`;
  const ask = nftRequest("GETSET", on, 0, nftBody(family, setAttrs, { table, name }));
  const answer = socket.tryRequest(ask, "ENOENT");
  const found = answer === "ENOENT" ? undefined : answer.find(isA("NEWSET"));
  if (found === undefined) return undefined;
  const { flags = 0, keyLength = 0, description } = wholeSetAttrs.decode(attributes(found));
  const dump = nftRequest("GETSETELEM", on, 0, nftBody(family, elementsAttrs, { table, set: name }));
  const raw = socket
    .dump(dump)
    .filter(isA("NEWSETELEM"))
    .flatMap((m) => elementsAttrs.decode(attributes(m)).elements ?? []);
  const fields = description?.fields?.map((f) => f.length ?? 0) ?? [];
  return {
    fields: fields.length > 0 ? fields : [keyLength],
    elements: elementsOf(raw, (flags & INTERVAL) !== 0 && fields.length < 2),
  };
}

function elementsOf(raw: readonly ElementAttrs[], halves: boolean): readonly SetElement[] {
  const rest = raw.filter((a) => ((a.flags ?? 0) & CATCHALL) !== 0);
  const plain = raw.filter((a) => ((a.flags ?? 0) & CATCHALL) === 0 && a.key?.value !== undefined);
  const keyed = halves
    ? rangesOf(
        plain.map((a): Boundary => ({
          key: a.key?.value ?? empty,
          end: ((a.flags ?? 0) & INTERVAL_END) !== 0,
          element: partsOf(a),
        })),
      )
    : plain.map((a): SetElement => ({
        ...partsOf(a),
        key: a.key?.value ?? empty,
        ...(a.keyEnd?.value ? { last: a.keyEnd.value } : {}),
      }));
  return [...keyed, ...rest.map((a): SetElement => ({ ...partsOf(a), key: empty, catchAll: true }))];
}
const empty = new Uint8Array(0);

/** Expressions of elements that count and do not decide. */
const COUNTING: readonly string[] = ["counter", "last"];

function partsOf(a: ElementAttrs): Omit<SetElement, "key" | "last"> {
  const own = [...(a.expression ? [a.expression] : []), ...(a.expressions ?? [])];
  const verdict = a.data?.verdict && (decodeVerdict(a.data.verdict) ?? { opaque: true as const });
  const data = verdict ?? a.data?.value;
  return {
    ...(data === undefined ? {} : { data }),
    ...(own.some((e) => !COUNTING.includes(e.name ?? "")) ? { conditional: true } : {}),
  };
}
