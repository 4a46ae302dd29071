/**
 * A watch of etcd that outlives its connections. Each goes on after the last revision that was told whole, so that nothing
 * is missed and nothing comes twice. A connection that is silent is asked about: it may be dead without having been closed.
 */
import { isNetError, NetError } from "../../errors.ts";
import { type Header, headerOf, rangeOf, watchAnswerOf } from "./etcd-codec.ts";
import { type Headers, Refusal } from "./etcd-gateway.ts";
import type { Session } from "./etcd-session.ts";
import type { Change, Revision, WatchOptions } from "./kv.ts";
import { type Backoff, backoffMs, pause } from "./pause.ts";

/** Between connections. */
const BACKOFF: Backoff = { firstMs: 100, maxMs: 5000 };
/** So many connections in a row that were not heard, in about six seconds, and whoever watches is told. */
const MOST_FAILURES = 6;
/** Most changes of one moment. */
const MOMENT_LIMIT = 100_000;

interface Watching {
  readonly session: Session;
  readonly prefix: string;
  readonly signal: AbortSignal;
  readonly quietMs: number;
  /** The last revision that was told. */
  last: Revision;
  /** Which cluster the revisions count in, once it is known. */
  cluster: string | undefined;
  /** True while a refusal can no longer be the fault of an old token. */
  isTokenNew: boolean;
}

/** `quietMs`: after how long a silence the connection is asked about. */
export async function* watchKeys(
  session: Session,
  prefix: string,
  options: WatchOptions & { readonly quietMs: number },
): AsyncGenerator<readonly Change[]> {
  const signal = AbortSignal.any([options.signal, session.gateway.signal]);
  const { quietMs, after } = options;
  const w: Watching = {
    session,
    prefix,
    signal,
    quietMs,
    last: after,
    cluster: undefined,
    isTokenNew: false,
  };
  for (let failures = 0; !signal.aborted;) {
    const { endpoint } = session.gateway;
    try {
      for await (const moment of moments(w, endpoint)) {
        failures = 0;
        yield moment;
      }
      continue;
    } catch (e) {
      if (signal.aborted) return;
      if (!isNetError(e, "store/unavailable")) throw e;
      session.gateway.avoid(endpoint);
      if (++failures >= MOST_FAILURES) throw e;
    }
    await pause(backoffMs(failures, BACKOFF), signal).catch(() => undefined);
  }
}

/** One connection: an empty moment when it is heard, then those that come. Ends where another connection is due at once. */
async function* moments(w: Watching, endpoint: string): AsyncGenerator<readonly Change[]> {
  const { gateway } = w.session;
  const headers = await w.session.headers();
  const ending = new AbortController();
  const signal = AbortSignal.any([w.signal, ending.signal]);
  const range = { ...rangeOf(w.prefix), start_revision: String(w.last + 1), fragment: true };
  const lines = gateway.lines(endpoint, "/v3/watch", { create_request: range }, headers, signal);
  let pending = lines.next();
  try {
    let known = 0;
    let parts: Change[] = [];
    for (;;) {
      const line = await within(pending, w.quietMs);
      if (line === undefined) {
        // What is new need not be below the prefix; whether it is, another connection tells.
        if ((await revisionAt(w, endpoint, headers)) > Math.max(known, w.last)) return;
        continue;
      }
      const answer = line.done === true ? undefined : watchAnswerOf(line.value);
      if (answer === undefined)
        throw gateway.unavailable(`${gateway.at(endpoint)}it ended the watch, or told what cannot be read`);
      if (answer.canceled !== undefined) {
        if (isWorthNewToken(w, headers, answer.canceled)) return;
        throw endOf(w, endpoint, answer.canceled, answer.isCompacted);
      }
      if (answer.isCreated) {
        await requireSameStore(w, endpoint, answer.header, headers);
        known = answer.header.revision;
        yield [];
      }
      parts.push(...answer.changes);
      if (parts.length > MOMENT_LIMIT)
        throw gateway.unavailable(`${gateway.at(endpoint)}too many changes at once`);
      if (!answer.isFragment) {
        yield* told(w, parts);
        parts = [];
      }
      pending = lines.next();
    }
  } catch (e) {
    if (!(e instanceof Refusal)) throw e;
    if (!isWorthNewToken(w, headers, e.message)) throw endOf(w, endpoint, e.message, false);
  } finally {
    ending.abort();
    pending.catch(() => undefined);
  }
}

/** What is new of these changes, by the moment at which it happened. */
function* told(w: Watching, changes: readonly Change[]): Generator<readonly Change[]> {
  const revisionOf = (change: Change): Revision =>
    change.kind === "put" ? change.entry.revision : change.revision;
  const keyOf = (change: Change): string => (change.kind === "put" ? change.entry.key : change.key);
  const news = changes.filter((c) => revisionOf(c) > w.last && keyOf(c).startsWith(w.prefix));
  for (const [revision, moment] of Map.groupBy(news, revisionOf)) {
    w.last = revision;
    w.isTokenNew = false;
    yield moment;
  }
}

/** The first value, or undefined if it takes longer. */
async function within<T>(value: Promise<T>, milliseconds: number): Promise<T | undefined> {
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(late.resolve, milliseconds, undefined);
  try {
    return await Promise.race([value, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The store's revision, from this member and confirmed by its cluster. */
async function revisionAt(w: Watching, endpoint: string, headers: Headers): Promise<Revision> {
  const { gateway } = w.session;
  const range = { ...rangeOf(w.prefix), limit: "1", keys_only: true };
  const answer = await gateway.askAt(endpoint, "/v3/kv/range", range, headers);
  const header = headerOf(answer);
  if (header === undefined) throw gateway.unavailable(`${gateway.at(endpoint)}the answer has no revision`);
  return header.revision;
}

/**
 * A store that was put back from a copy has not come as far as we have seen, and another one counts for itself; a member
 * that lags behind catches up before it answers.
 * @throws store/compacted
 */
async function requireSameStore(w: Watching, at: string, header: Header, headers: Headers): Promise<void> {
  w.cluster ??= header.cluster;
  const isBehind = header.revision < w.last && (await revisionAt(w, at, headers)) < w.last;
  if (isBehind || w.cluster !== header.cluster) throw compacted(w);
}

const compacted = (w: Watching): NetError =>
  new NetError("store/compacted", { store: w.session.gateway.name, since: String(w.last) });

/** True once for a reason that a token may have which is no longer good; the next connection gets a new one. */
function isWorthNewToken(w: Watching, headers: Headers, why: string): boolean {
  if (
    w.isTokenNew ||
    headers.authorization === undefined ||
    !/auth token|auth store|permission denied/.test(why)
  )
    return false;
  w.session.forget(headers);
  w.isTokenNew = true;
  return true;
}

/** Why the server ended a watch, as an error. */
function endOf(w: Watching, endpoint: string, why: string, isCompacted: boolean): NetError {
  if (isCompacted || why.includes("required revision has been compacted")) return compacted(w);
  const text = why === "" ? "it ended the watch" : why;
  return (
    w.session.denied(new Refusal(0, text)) ??
    w.session.gateway.unavailable(`${w.session.gateway.at(endpoint)}${text}`)
  );
}
