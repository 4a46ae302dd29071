import type { Attr } from "../wire/attrs.ts";
import { type Message, NLM_F, type Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { viewOf } from "../wire/fixed.ts";
import {
  BATCH,
  batchAttrs,
  chainAttrs,
  type ElementAttrs,
  elementsAttrs,
  families,
  NFT_MSG,
  type NftFamily,
  nfgenmsg,
  type NftVerb,
  ruleAttrs,
  setAttrs,
  SUBSYSTEM,
  tableAttrs,
} from "./attrs.ts";
import { byteOrderNumber, encodeKey, keyBytes, type KeyType, typeNumber } from "./data-types.ts";
import { encodeExpr } from "./expr.ts";
import {
  type Base,
  type Chain,
  type Element,
  isVerdict,
  type Rule,
  type SetSpec,
  type TableRef,
} from "./model.ts";
import { encodeComment, encodeUdata, type UdataEntry } from "./udata.ts";
import { encodeVerdict } from "./verdict.ts";

/**
 * Changes of the rule set: each function makes one request, and `commit` sends a row of them as one transaction that
 * happens wholly or not at all. `mustBeNew` (NLM_F_EXCL) makes the transaction fail with EEXIST if the object is there.
 */
export const hookNumbers = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
/** NF_DROP and NF_ACCEPT. */
export const policyNumbers = { drop: 0, accept: 1 } as const;
/** NFT_SET_MAP. */
const MAP = 0x8;
/** NFT_DATA_VERDICT and the size of `struct nft_verdict`, which nft sends as the length. */
const VERDICT_TYPE = 0xffffff00;
const VERDICT_BYTES = 16;

/** The body of a message: which family it is about, and its attributes. */
export function nftBody<T>(family: NftFamily | undefined, table: Attr<T>, value: T): Uint8Array {
  const tail = table.encode(value);
  const body = new Uint8Array(nfgenmsg.size + tail.length);
  nfgenmsg.set(viewOf(body), 0, { family: family ? families[family] : 0, version: 0, resId: 0 });
  body.set(tail, nfgenmsg.size);
  return body;
}

export const nftRequest = (verb: NftVerb, on: string, flags: number, body: Uint8Array): Request => ({
  type: (SUBSYSTEM << 8) | NFT_MSG[verb],
  flags,
  body,
  what: `NFT_MSG_${verb} ${on}`,
});

const creation = (mustBeNew: boolean | undefined): number => NLM_F.CREATE | (mustBeNew ? NLM_F.EXCL : 0);
const place = (t: TableRef, name: string): string => `${t.family} ${t.table} ${name}`;

export interface Creation {
  readonly mustBeNew?: boolean;
}

/** The comment of a table that exists already is not changed by this. */
export const addTable = (t: TableRef, comment?: string, options: Creation = {}): Request =>
  nftRequest(
    "NEWTABLE",
    `${t.family} ${t.table}`,
    creation(options.mustBeNew),
    nftBody(t.family, tableAttrs, {
      name: t.table,
      flags: 0,
      ...(comment === undefined ? {} : { userdata: encodeComment(comment) }),
    }),
  );

/** Removes the table and all that is in it. */
export const deleteTable = (t: TableRef): Request =>
  nftRequest("DELTABLE", `${t.family} ${t.table}`, 0, nftBody(t.family, tableAttrs, { name: t.table }));

/** The chain alone; its rules follow with `addRule`. */
export function addChain(t: TableRef, chain: Pick<Chain, "name" | "base">, options: Creation = {}): Request {
  const base = (b: Base): Parameters<typeof chainAttrs.encode>[0] => ({
    hook: { number: hookNumbers[b.hook], priority: b.priority >>> 0 },
    policy: policyNumbers[b.policy],
    type: b.type,
  });
  return nftRequest(
    "NEWCHAIN",
    place(t, chain.name),
    creation(options.mustBeNew),
    nftBody(t.family, chainAttrs, {
      table: t.table,
      name: chain.name,
      ...(chain.base ? base(chain.base) : {}),
    }),
  );
}

/** Removes a chain and its rules; EBUSY as long as a jump or an element leads to it. */
export const deleteChain = (t: TableRef, name: string): Request =>
  nftRequest("DELCHAIN", place(t, name), 0, nftBody(t.family, chainAttrs, { table: t.table, name }));

/** Appends a rule to a chain. */
export const addRule = (t: TableRef, chain: string, rule: Rule): Request =>
  nftRequest(
    "NEWRULE",
    place(t, chain),
    NLM_F.CREATE | NLM_F.APPEND,
    nftBody(t.family, ruleAttrs, {
      table: t.table,
      chain,
      expressions: rule.expressions.map(encodeExpr),
      ...(rule.comment === undefined ? {} : { userdata: encodeComment(rule.comment) }),
    }),
  );

/** Removes one rule by its handle, or every rule of the chain. */
export const deleteRules = (t: TableRef, chain: string, handle?: bigint): Request =>
  nftRequest(
    "DELRULE",
    place(t, chain),
    0,
    nftBody(t.family, ruleAttrs, { table: t.table, chain, ...(handle === undefined ? {} : { handle }) }),
  );

const word = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
/** NFTNL_UDATA_SET_TYPEOF_EXPR with the number that nft gives to a concatenation, and no data. */
const concatenation = encodeUdata([
  [0, word(13)],
  [1, new Uint8Array(0)],
]);

/** NFTNL_UDATA_SET_*: byte orders, the expression of a concatenation, and whether data are ranges. */
function setUdata(set: SetSpec): Uint8Array {
  const { key, data } = set;
  const types = data === "verdict" ? undefined : data;
  const entries: UdataEntry[] = [[0, word(byteOrderNumber(key))]];
  if (data) entries.push([1, word(types ? byteOrderNumber(types) : 0)]);
  if (key.length > 1) entries.push([3, concatenation]);
  if (types && types.length > 1) entries.push([4, concatenation]);
  if (data) entries.push([6, word(0)]);
  return encodeUdata(entries);
}

/** Adds a set or map. The kernel wants a number for it, unique in the batch at least for anonymous ones. */
export function addSet(t: TableRef, set: SetSpec, options: Creation = {}): Request {
  const { key, data } = set;
  const dataPart = (d: KeyType | "verdict"): Parameters<typeof setAttrs.encode>[0] =>
    d === "verdict"
      ? { dataType: VERDICT_TYPE, dataLength: VERDICT_BYTES }
      : { dataType: typeNumber(d), dataLength: keyBytes(d) };
  return nftRequest(
    "NEWSET",
    place(t, set.name),
    creation(options.mustBeNew),
    nftBody(t.family, setAttrs, {
      table: t.table,
      name: set.name,
      flags: data ? MAP : 0,
      keyType: typeNumber(key),
      keyLength: keyBytes(key),
      ...(data ? dataPart(data) : {}),
      id: 1,
      userdata: setUdata(set),
    }),
  );
}

export const deleteSet = (t: TableRef, name: string): Request =>
  nftRequest("DELSET", place(t, name), 0, nftBody(t.family, setAttrs, { table: t.table, name }));

function elementAttrs(set: SetSpec, e: Element): ElementAttrs {
  const { data, comment } = e;
  const types = set.data;
  const encoded = (): ElementAttrs["data"] => {
    if (data === undefined) return undefined;
    if (isVerdict(data)) return { verdict: encodeVerdict(data) };
    if (types === undefined || types === "verdict") throw new TypeError(`${set.name} holds no such data`);
    return { value: encodeKey(types, data) };
  };
  const value = encoded();
  return {
    key: { value: encodeKey(set.key, e.key) },
    ...(value ? { data: value } : {}),
    ...(comment === undefined ? {} : { userdata: encodeComment(comment) }),
  };
}

/** The body of every element message: get, add and delete. */
export const elementsBody = (t: TableRef, set: SetSpec, elements: readonly Element[]): Uint8Array =>
  nftBody(t.family, elementsAttrs, {
    table: t.table,
    set: set.name,
    elements: elements.map((e) => elementAttrs(set, e)),
  });

/** Elements that one message holds: the list is one attribute of at most 65535 bytes. */
export const ELEMENTS_PER_MESSAGE = 200;

/**
 * Adds elements, at most `ELEMENTS_PER_MESSAGE`. Without `mustBeNew` an equal element is left as it is (with its old
 * comment), and one with other data is EEXIST all the same.
 */
export const addElements = (
  t: TableRef,
  set: SetSpec,
  elements: readonly Element[],
  options: Creation = {},
): Request =>
  nftRequest("NEWSETELEM", place(t, set.name), creation(options.mustBeNew), elementsBody(t, set, elements));

/** Removes elements by their keys; ENOENT if one is not there. */
export const deleteElements = (
  t: TableRef,
  set: SetSpec,
  elements: readonly Pick<Element, "key">[],
): Request =>
  nftRequest(
    "DELSETELEM",
    place(t, set.name),
    0,
    elementsBody(
      t,
      set,
      elements.map(({ key }) => ({ key })),
    ),
  );

function edge(type: number, what: string, genid?: number): Request {
  const tail = genid === undefined ? new Uint8Array(0) : batchAttrs.encode({ genid });
  const body = new Uint8Array(nfgenmsg.size + tail.length);
  nfgenmsg.set(viewOf(body), 0, { family: 0, version: 0, resId: SUBSYSTEM });
  body.set(tail, nfgenmsg.size);
  return { type, flags: 0, body, what };
}

/**
 * Sends the changes as one transaction. `genid` is the generation that they were decided on (`generation` in
 * `list.ts`): if the rule set has changed since, nothing happens and ERESTART is refused. Throws `netlink/refused`;
 * its request names the first change that could not be made.
 */
export function commit(socket: NetlinkSocket, changes: readonly Request[], genid?: number): Message[] {
  if (changes.length === 0) return [];
  const last = changes.length - 1;
  return socket.transaction([
    edge(BATCH.BEGIN, `nftables transaction (${changes[last]?.what ?? ""})`, genid),
    ...changes.map((c, i) => (i === last ? { ...c, flags: c.flags | NLM_F.ACK } : c)),
    edge(BATCH.END, "end of the nftables transaction"),
  ]);
}
