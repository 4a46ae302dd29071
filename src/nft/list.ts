import { isNetError } from "../errors.ts";
import { DecodeError } from "../wire/attrs.ts";
import type { Message, Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import {
  type ElementAttrs,
  chainAttrs,
  elementsAttrs,
  families,
  genAttrs,
  NFT_MSG,
  type NftFamily,
  nfgenmsg,
  ruleAttrs,
  setAttrs,
  SUBSYSTEM,
  tableAttrs,
} from "./attrs.ts";
import { elementsBody, hookNumbers, nftBody, nftRequest, policyNumbers } from "./batch.ts";
import { decodeKey } from "./data-types.ts";
import { decodeExpr } from "./expr.ts";
import { nameOf } from "./expr/expression.ts";
import type { Base, ChainInfo, Element, RuleInfo, SetSpec, TableRef } from "./model.ts";
import { decodeComment } from "./udata.ts";
import { decodeVerdict } from "./verdict.ts";

/**
 * Reading the rule set back: single objects by name or key, and dumps. What is not there is a value (undefined or an
 * empty list). A dump during which somebody commits is repeated by the socket.
 */
const attributes = (m: Message): Uint8Array => {
  if (m.body.length < nfgenmsg.size) throw new DecodeError(`nftables: a message of ${m.body.length} bytes`);
  return m.body.subarray(nfgenmsg.size);
};
const familyOf = (m: Message): NftFamily | undefined => nameOf(families, m.body[0]);
const isA = (verb: keyof typeof NFT_MSG) => (m: Message) => m.type === ((SUBSYSTEM << 8) | NFT_MSG[verb]);

const empty = new Uint8Array(0);

/** The number of the last transaction; `commit` takes it to act only on what was read. */
export function generation(socket: NetlinkSocket): number {
  const [answer] = socket.request(
    nftRequest("GETGEN", "", 0, nftBody(undefined, { encode: () => empty, decode: () => empty }, empty)),
  );
  return (answer && genAttrs.decode(attributes(answer)).id) ?? 0;
}

export interface TableInfo extends TableRef {
  readonly comment?: string;
}

function decodeTable(m: Message): TableInfo[] {
  const a = tableAttrs.decode(attributes(m));
  const family = familyOf(m);
  const comment = decodeComment(a.userdata);
  if (family === undefined || a.name === undefined) return [];
  return [{ family, table: a.name, ...(comment === undefined ? {} : { comment }) }];
}

export function findTable(socket: NetlinkSocket, t: TableRef): TableInfo | undefined {
  const body = nftBody(t.family, tableAttrs, { name: t.table });
  const answer = socket.tryRequest(nftRequest("GETTABLE", `${t.family} ${t.table}`, 0, body), "ENOENT");
  return answer === "ENOENT" ? undefined : answer.filter(isA("NEWTABLE")).flatMap(decodeTable)[0];
}

/** Every table, or those of one family. */
export const listTables = (socket: NetlinkSocket, family?: NftFamily): TableInfo[] =>
  socket.dump(nftRequest("GETTABLE", "all", 0, nftBody(family, tableAttrs, {}))).flatMap(decodeTable);

function decodeBase(a: ReturnType<typeof chainAttrs.decode>): Base | undefined {
  const hook = nameOf(hookNumbers, a.hook?.number);
  const policy = nameOf(policyNumbers, a.policy);
  if (hook === undefined || policy === undefined) return undefined;
  const type = a.type === "nat" || a.type === "route" ? a.type : "filter";
  return { type, hook, priority: (a.hook?.priority ?? 0) | 0, policy };
}

function decodeChain(m: Message): ChainInfo[] {
  const a = chainAttrs.decode(attributes(m));
  const family = familyOf(m);
  if (family === undefined || a.table === undefined || a.name === undefined) return [];
  const base = a.hook && decodeBase(a);
  return [
    {
      family,
      table: a.table,
      chain: a.name,
      handle: a.handle ?? 0n,
      uses: a.use ?? 0,
      ...(base ? { base } : {}),
    },
  ];
}

export function findChain(socket: NetlinkSocket, t: TableRef, name: string): ChainInfo | undefined {
  const body = nftBody(t.family, chainAttrs, { table: t.table, name });
  const request = nftRequest("GETCHAIN", `${t.family} ${t.table} ${name}`, 0, body);
  const answer = socket.tryRequest(request, "ENOENT");
  return answer === "ENOENT" ? undefined : answer.filter(isA("NEWCHAIN")).flatMap(decodeChain)[0];
}

/** Every chain of the namespace, or of one family. */
export const listChains = (socket: NetlinkSocket, family?: NftFamily): ChainInfo[] =>
  socket.dump(nftRequest("GETCHAIN", "all", 0, nftBody(family, chainAttrs, {}))).flatMap(decodeChain);

/** The rules of a table, or of one of its chains, in their order. */
export function listRules(socket: NetlinkSocket, t: TableRef, chain?: string): RuleInfo[] {
  const body = nftBody(t.family, ruleAttrs, { table: t.table, ...(chain ? { chain } : {}) });
  const messages = socket.dump(nftRequest("GETRULE", `${t.family} ${t.table} ${chain ?? ""}`, 0, body));
  return messages
    .map((m) => ruleAttrs.decode(attributes(m)))
    .filter((a) => a.table === t.table && (chain === undefined || a.chain === chain))
    .map((a) => {
      const comment = decodeComment(a.userdata);
      return {
        chain: a.chain ?? "",
        handle: a.handle ?? 0n,
        expressions: (a.expressions ?? []).map(decodeExpr),
        ...(comment === undefined ? {} : { comment }),
      };
    });
}

export interface SetInfo {
  readonly set: string;
  readonly keyType: number;
  readonly keyBytes: number;
  readonly dataType?: number;
}

/** Names and types of the sets and maps of a table; none if there is no such table. */
export function listSets(socket: NetlinkSocket, t: TableRef): SetInfo[] {
  const request = nftRequest(
    "GETSET",
    `${t.family} ${t.table}`,
    0,
    nftBody(t.family, setAttrs, { table: t.table }),
  );
  return absentIsEmpty(socket, request).map((m) => {
    const a = setAttrs.decode(attributes(m));
    return {
      set: a.name ?? "",
      keyType: a.keyType ?? 0,
      keyBytes: a.keyLength ?? 0,
      ...(a.dataType === undefined ? {} : { dataType: a.dataType }),
    };
  });
}

function decodeElement(set: SetSpec, a: ElementAttrs): Element[] {
  if (a.key?.value === undefined) return [];
  const verdict = a.data?.verdict && decodeVerdict(a.data.verdict);
  const values =
    a.data?.value && set.data && set.data !== "verdict" ? decodeKey(set.data, a.data.value) : undefined;
  const data = verdict ?? values;
  const comment = decodeComment(a.userdata);
  return [
    {
      key: decodeKey(set.key, a.key.value),
      ...(data === undefined ? {} : { data }),
      ...(comment === undefined ? {} : { comment }),
    },
  ];
}

const decodeElements = (set: SetSpec, messages: readonly Message[]): Element[] =>
  messages
    .filter(isA("NEWSETELEM"))
    .flatMap((m) => elementsAttrs.decode(attributes(m)).elements ?? [])
    .flatMap((a) => decodeElement(set, a));

/** The element with that key, or undefined if there is none, or no such set or table. */
export function findElement(
  socket: NetlinkSocket,
  t: TableRef,
  set: SetSpec,
  key: Element["key"],
): Element | undefined {
  const request = nftRequest(
    "GETSETELEM",
    `${t.family} ${t.table} ${set.name}`,
    0,
    elementsBody(t, set, [{ key }]),
  );
  const answer = socket.tryRequest(request, "ENOENT");
  return answer === "ENOENT" ? undefined : decodeElements(set, answer)[0];
}

/** Every element of the set; none if there is no such set or table. */
export function listElements(socket: NetlinkSocket, t: TableRef, set: SetSpec): Element[] {
  const body = nftBody(t.family, elementsAttrs, { table: t.table, set: set.name });
  const request = nftRequest("GETSETELEM", `${t.family} ${t.table} ${set.name}`, 0, body);
  return decodeElements(set, absentIsEmpty(socket, request));
}

function absentIsEmpty(socket: NetlinkSocket, request: Request): Message[] {
  try {
    return socket.dump(request);
  } catch (e) {
    if (isNetError(e, "netlink/refused") && e.detail.errno === "ENOENT") return [];
    throw e;
  }
}
