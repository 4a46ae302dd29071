/** Watching: what has changed since a revision, then what changes, one JSON object a line. */
import type { ServerResponse } from "node:http";
import { ApiError, badRequest, tooNew, tooOld } from "./api-error.ts";
import { type JsonObject, withMetadata } from "./json.ts";
import { count, prefixOf, revisionOf, type Target } from "./read.ts";
import { type Matches, selectorOf } from "./selectors.ts";
import type { Store, StoredChange } from "./store.ts";
import { typeOf } from "./discovery.ts";

export interface WatchOptions {
  readonly store: Store;
  readonly target: Target;
  readonly query: URLSearchParams;
  /** Milliseconds between two bookmarks, for who wants them. */
  readonly bookmarkEveryMs: number;
  /** How an object is sent: itself, or as a table. */
  readonly form: (object: JsonObject, isFirst: boolean) => JsonObject;
}

type EventType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";

/** Who reads so slowly that this much waits for him is cut off. */
const WAITING_BYTES = 8 * 1024 * 1024;

/** Begins a watch on an answer whose head is not sent yet; it ends with the connection. @throws ApiError 400, 422, 504 */
export function serveWatch(options: WatchOptions, answer: ServerResponse): void {
  const { store, target, query } = options;
  const labels = query.get("labelSelector") ?? "";
  const matches = selectorOf(labels, query.get("fieldSelector") ?? "");
  const wantsBookmarks = query.get("allowWatchBookmarks") === "true";
  const start = startOf(store, query, wantsBookmarks);
  const seconds = count(query, "timeoutSeconds") || 1800 + Math.random() * 1800;

  answer.writeHead(200, { "content-type": "application/json" });
  answer.flushHeaders();
  let isFirst = true;
  const send = (type: EventType, object: JsonObject): void => {
    const sent = type === "ERROR" ? object : options.form(object, isFirst);
    isFirst = false;
    answer.write(`${JSON.stringify({ type, object: sent })}\n`);
    if (answer.writableLength > WAITING_BYTES) answer.destroy();
  };
  if (start.kind === "refused") {
    send("ERROR", start.error.body);
    answer.end();
    return;
  }
  const bookmark = (annotations?: JsonObject): void =>
    send(
      "BOOKMARK",
      withMetadata(typeOf(target.resource), {
        resourceVersion: String(store.revision()),
        creationTimestamp: null,
        ...(annotations === undefined ? {} : { annotations }),
      }),
    );
  const prefix = prefixOf(target);
  const tell = (change: StoredChange): void => {
    const event = change.key.startsWith(prefix) ? eventOf(change, matches) : undefined;
    if (event !== undefined) send(event.type, event.object);
  };
  if (start.kind === "all") {
    for (const [, object] of store.at(prefix, store.revision())) if (matches(object)) send("ADDED", object);
    if (start.marked) bookmark({ "k8s.io/initial-events-end": "true" });
  } else for (const change of store.after(start.revision)) tell(change);

  const stop = store.subscribe(tell);
  const ticking = wantsBookmarks ? setInterval(() => bookmark(), options.bookmarkEveryMs) : undefined;
  const ending = setTimeout(() => {
    if (wantsBookmarks) bookmark();
    answer.end();
  }, seconds * 1000);
  answer.on("close", () => {
    stop();
    clearInterval(ticking);
    clearTimeout(ending);
  });
}

type Start =
  | { readonly kind: "all"; readonly marked: boolean }
  | { readonly kind: "after"; readonly revision: number }
  /** Said in the stream, where the client looks for it. */
  | { readonly kind: "refused"; readonly error: ApiError };

function startOf(store: Store, query: URLSearchParams, wantsBookmarks: boolean): Start {
  const wanted = query.get("resourceVersion") ?? "";
  const revision = revisionOf(wanted);
  if (query.get("sendInitialEvents") === "true") {
    if (query.get("resourceVersionMatch") !== "NotOlderThan" || !wantsBookmarks)
      throw new ApiError(
        422,
        "Invalid",
        `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents needs resourceVersionMatch=NotOlderThan and allowWatchBookmarks`,
      );
    if (revision > store.revision()) throw tooNew(revision, store.revision());
    return { kind: "all", marked: true };
  }
  if (query.has("resourceVersionMatch"))
    throw badRequest("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  if (wanted === "" || wanted === "0") return { kind: "all", marked: false };
  if (revision < store.oldest()) return { kind: "refused", error: tooOld(revision, store.oldest()) };
  return { kind: "after", revision };
}

/** What a change is to somebody who sees only what he selected. */
function eventOf(
  { before, after, revision }: StoredChange,
  matches: Matches,
): { readonly type: EventType; readonly object: JsonObject } | undefined {
  const was = before !== undefined && matches(before);
  if (after !== undefined && matches(after)) return { type: was ? "MODIFIED" : "ADDED", object: after };
  // The last state, with the revision of its end.
  if (was) return { type: "DELETED", object: withMetadata(before, { resourceVersion: String(revision) }) };
  return undefined;
}
