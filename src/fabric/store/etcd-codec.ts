/**
 * Requests and answers of etcd's version 3 interface as its JSON gateway has them: bytes in base64, numbers of 64 bits as
 * text, what is zero left out. What an answer does not have as it should is `undefined`, and its reader says so.
 */
import type { Change, Entry, Listing } from "./kv.ts";
import { count, listOf, type Members, members, words } from "./shape.ts";

export const encode = (text: string): string => Buffer.from(text).toString("base64");

/** Bytes that are no UTF-8 become U+FFFD: such keys are told, and belong to nobody who writes as we do. */
const decode = (base64: string): string => Buffer.from(base64, "base64").toString();

/** The range of all keys that begin with the prefix; of the empty one all keys there are. */
export function rangeOf(prefix: string): { readonly key: string; readonly range_end: string } {
  const end = Buffer.from(prefix);
  const last = end.findLastIndex((byte) => byte < 0xff);
  const all = Buffer.of(0).toString("base64");
  if (last < 0) return { key: prefix === "" ? all : encode(prefix), range_end: all };
  end[last] = (end[last] ?? 0) + 1;
  return { key: encode(prefix), range_end: end.subarray(0, last + 1).toString("base64") };
}

/** The key after this one in the order of bytes. */
export const keyAfter = (key: string): string =>
  Buffer.concat([Buffer.from(key), Buffer.of(0)]).toString("base64");

/** A number that may be text, or be left out because it is zero. */
export function numberOf(value: unknown): number | undefined {
  if (value === undefined) return 0;
  if (typeof value === "number") return count(value);
  return typeof value === "string" && /^\d{1,16}$/.test(value) ? count(Number(value)) : undefined;
}

/** The name of a lease: a number too large to count with. */
const leaseIn = (value: unknown): string | undefined =>
  typeof value === "string" && /^-?\d{1,20}$/.test(value) ? value : undefined;

export interface Header {
  readonly cluster: string;
  readonly revision: number;
}

export function headerOf(answer: Members): Header | undefined {
  const header = members(answer["header"]);
  const revision = header && numberOf(header["revision"]);
  const cluster = header && words(header["cluster_id"]);
  return revision === undefined ? undefined : { cluster: cluster ?? "", revision };
}

function entryOf(value: unknown): Entry | undefined {
  const m = members(value) ?? {};
  const key = words(m["key"]);
  const text = m["value"] === undefined ? "" : words(m["value"]);
  const revision = numberOf(m["mod_revision"]);
  if (key === undefined || text === undefined || revision === undefined) return undefined;
  const lease = m["lease"] === undefined || m["lease"] === "0" ? undefined : leaseIn(m["lease"]);
  return { key: decode(key), value: decode(text), revision, ...(lease === undefined ? {} : { lease }) };
}

/** One page of a range. */
export interface Page extends Listing {
  readonly hasMore: boolean;
}

/** Undefined, too, for an answer that has other keys than it counts: part of it is lost. */
export function pageOf(answer: Members): Page | undefined {
  const header = headerOf(answer);
  const entries = listOf(answer["kvs"] ?? [], entryOf);
  const count = numberOf(answer["count"] ?? "0");
  if (header === undefined || entries === undefined || count === undefined) return undefined;
  const hasMore = answer["more"] === true;
  if (hasMore ? count <= entries.length : count !== entries.length) return undefined;
  return { entries, revision: header.revision, hasMore };
}

/** The revision of a write; undefined, too, for an answer that has none. */
export const revisionOf = (answer: Members): number | undefined => {
  const revision = headerOf(answer)?.revision;
  return revision === 0 ? undefined : revision;
};

/** What a transaction of one request did: undefined if its condition did not hold. */
export function outcomeOf(answer: Members, kind: "response_delete_range"): Members | undefined {
  if (answer["succeeded"] !== true) return undefined;
  const [first] = listOf(answer["responses"] ?? [], members) ?? [];
  return first && members(first[kind]);
}

export interface LeaseAnswer {
  readonly id: string;
  /** Zero for a lease that is gone. */
  readonly seconds: number;
}

export function leaseOf(answer: Members): LeaseAnswer | undefined {
  const id = leaseIn(answer["ID"]);
  const time = answer["TTL"];
  const seconds = typeof time === "string" && /^-\d{1,16}$/.test(time) ? 0 : numberOf(time);
  return id === undefined || seconds === undefined ? undefined : { id, seconds };
}

/** One message of a watch. */
export interface WatchAnswer {
  readonly header: Header;
  readonly isCreated: boolean;
  /** Why the server ended the watch; undefined if it did not. */
  readonly canceled: string | undefined;
  readonly isCompacted: boolean;
  /** More of the same revision comes with the next message. */
  readonly isFragment: boolean;
  readonly changes: readonly Change[];
}

export function watchAnswerOf(answer: Members): WatchAnswer | undefined {
  const header = headerOf(answer);
  const changes = listOf(answer["events"] ?? [], changeOf);
  const compacted = numberOf(answer["compact_revision"]);
  if (header === undefined || changes === undefined || compacted === undefined) return undefined;
  return {
    header,
    isCreated: answer["created"] === true,
    canceled: answer["canceled"] === true ? (words(answer["cancel_reason"]) ?? "") : undefined,
    isCompacted: compacted > 0,
    isFragment: answer["fragment"] === true,
    changes,
  };
}

function changeOf(value: unknown): Change | undefined {
  const m = members(value) ?? {};
  const entry = entryOf(m["kv"]);
  if (entry === undefined) return undefined;
  if (m["type"] === "DELETE") return { kind: "delete", key: entry.key, revision: entry.revision };
  return m["type"] === undefined || m["type"] === "PUT" ? { kind: "put", entry } : undefined;
}
