/**
 * A small client of the Kubernetes API: one object, lists in pages, one watch, patches. It knows no kinds. What it throws is
 * store/unavailable (try again), store/denied (somebody has to act), store/compacted (list again) or try-again (somebody else
 * was quicker).
 */
import type { Answer, Exchange } from "../http.ts";
import type { Members } from "../shape.ts";
import { members, words } from "../shape.ts";
import type { ClusterAccess } from "./access.ts";
import { errorOf, jsonBody, jsonLines, refusalOf, unusable } from "./answers.ts";
import { exchange } from "./http.ts";
import { pause } from "../pause.ts";

/** What is asked for. `group` is empty for the core's kinds. */
export interface Place {
  readonly group?: string;
  readonly resource: string;
  readonly namespace?: string;
}

export interface Selection {
  /** As `metadata.name=host1`. */
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

/** An object as it came; only that it is one and has a name is certain. */
export interface KubeObject {
  readonly name: string;
  readonly resourceVersion: string;
  readonly body: Members;
}

export interface Page {
  readonly objects: readonly KubeObject[];
  /** From where a watch goes on. */
  readonly resourceVersion: string;
  /** For the next page; empty at the end. */
  readonly continue: string;
}

export type WatchEvent =
  /** The server has begun to answer; nothing may come for a while. */
  | { readonly kind: "open" }
  | { readonly kind: "put"; readonly object: KubeObject }
  | { readonly kind: "gone"; readonly object: KubeObject }
  /** Nothing has changed up to here. */
  | { readonly kind: "bookmark"; readonly resourceVersion: string };

export type PatchType = "json" | "merge" | "strategic";

export interface KubeTimes {
  /** Milliseconds until an answer begins. */
  readonly answerMs: number;
  /** Milliseconds without a byte after which a watch counts as dead; bookmarks come about every minute. */
  readonly watchIdleMs: number;
  /** Seconds after which the server ends a watch in order. */
  readonly watchSeconds: number;
  /** The longest that is waited because the server said so, in milliseconds. */
  readonly retryAfterMs: number;
}

export const KUBE_TIMES: KubeTimes = {
  answerMs: 30_000,
  watchIdleMs: 180_000,
  watchSeconds: 300,
  retryAfterMs: 60_000,
};

export interface KubeClient {
  /** For messages: `Kubernetes at HOST:PORT`. */
  readonly name: string;
  readonly times: KubeTimes;
  /** Undefined if there is no such object. */
  get(place: Place, name: string, signal?: AbortSignal): Promise<KubeObject | undefined>;
  /** One page; `limit` 0 is all at once. @throws store/compacted if the pages of this list are no longer kept */
  list(place: Place, selection: Selection, page: PageOptions, signal?: AbortSignal): Promise<Page>;
  /** Until the server ends it, which it does from time to time. @throws store/compacted if `after` is too old */
  watch(place: Place, selection: Selection, after: string, signal: AbortSignal): AsyncIterable<WatchEvent>;
  /** Undefined if there is no such object. @throws try-again if the patch names a version that is no longer the last */
  patch(
    place: Place,
    target: { readonly name: string; readonly subresource?: "status" },
    type: PatchType,
    patch: unknown,
    signal?: AbortSignal,
  ): Promise<KubeObject | undefined>;
}

export interface PageOptions {
  readonly limit: number;
  readonly continue?: string;
}

const PATCH_TYPES = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
} as const satisfies Record<PatchType, string>;

/** Opens nothing yet: each call makes a connection. */
export function kubeClient(access: ClusterAccess, times: KubeTimes = KUBE_TIMES): KubeClient {
  const store = `Kubernetes at ${access.server.host}`;
  const ask = (path: string, asked: string, rest: Partial<Exchange>): Promise<Answer> =>
    patient({ access, store, asked, times }, { ...defaults(times), path, ...rest });
  const one = async (answer: Answer): Promise<KubeObject> =>
    kubeObject(store, await jsonBody(store, answer), "the answer");

  return {
    name: store,
    times,
    get: async (place, name, signal) => {
      using answer = await ask(pathOf(place, name), `get ${place.resource}/${name}`, withSignal(signal));
      return answer.status === 404 ? undefined : await one(answer);
    },
    list: async (place, selection, page, signal) => {
      const query = queryOf({
        ...selection,
        limit: page.limit === 0 ? undefined : page.limit,
        continue: page.continue === "" ? undefined : page.continue,
      });
      using answer = await ask(`${pathOf(place)}${query}`, `list ${place.resource}`, withSignal(signal));
      mustBeThere(store, `list ${place.resource}`, answer);
      return pageOf(store, await jsonBody(store, answer));
    },
    watch: async function* (place, selection, after, signal) {
      const query = queryOf({
        ...selection,
        watch: "true",
        allowWatchBookmarks: "true",
        resourceVersion: after,
        // Not all hosts at the same time.
        timeoutSeconds: Math.ceil(times.watchSeconds * (1 + Math.random())),
      });
      const asked = `watch ${place.resource}`;
      using answer = await ask(`${pathOf(place)}${query}`, asked, { signal, idleMs: times.watchIdleMs });
      mustBeThere(store, asked, answer);
      yield { kind: "open" };
      for await (const line of jsonLines(store, answer)) yield eventOf(store, asked, line);
    },
    patch: async (place, { name, subresource }, type, patch, signal) => {
      const path = subresource === undefined ? pathOf(place, name) : `${pathOf(place, name)}/${subresource}`;
      using answer = await ask(path, `patch ${place.resource}/${name}`, {
        ...withSignal(signal),
        method: "PATCH",
        body: { type: PATCH_TYPES[type], text: JSON.stringify(patch) },
      });
      return answer.status === 404 ? undefined : await one(answer);
    },
  };
}

const defaults = (times: KubeTimes): Omit<Exchange, "path"> => ({
  method: "GET",
  headWithinMs: times.answerMs,
  idleMs: times.answerMs,
});
const withSignal = (signal: AbortSignal | undefined): Partial<Exchange> =>
  signal === undefined ? {} : { signal };

interface Asking {
  readonly access: ClusterAccess;
  readonly store: string;
  readonly asked: string;
  readonly times: KubeTimes;
}

/** How often somebody who says "later" is asked again in one call. */
const PATIENCE = 4;

/**
 * Asks, and asks again if the server says when. A token may have been renewed in the moment between reading and using it, so
 * that an unknown one is tried twice. Only a good answer and 404 come back.
 */
async function patient({ access, store, asked, times }: Asking, options: Exchange): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    const answer = await exchange(access, options);
    if ((answer.status >= 200 && answer.status < 300) || answer.status === 404) return answer;
    using _ = answer;
    const refusal = refusalOf(
      answer.status,
      await jsonBody(store, answer, 1024 * 1024).catch(() => undefined),
    );
    const seconds = Number(answer.header("retry-after") ?? "");
    const later = !refusal.tooNew && [429, 503, 504].includes(answer.status) && seconds > 0;
    const unknown = answer.status === 401 && tries === 1;
    if ((!later && !unknown) || tries > PATIENCE) throw errorOf(store, asked, refusal);
    await pause(later ? Math.min(seconds * 1000, times.retryAfterMs) : 100, options.signal);
  }
}

function mustBeThere(store: string, asked: string, answer: Answer): void {
  const refusal = { status: 404, reason: "", message: "no such path", tooNew: false };
  if (answer.status === 404) throw errorOf(store, asked, refusal);
}

/** The path of a kind, or of one object. */
function pathOf({ group = "", resource, namespace }: Place, name?: string): string {
  const root = group === "" ? "/api/v1" : `/apis/${encodeURIComponent(group)}/v1`;
  const within = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${within}/${resource}${name === undefined ? "" : `/${encodeURIComponent(name)}`}`;
}

function queryOf(parameters: Readonly<Record<string, string | number | undefined>>): string {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters))
    if (value !== undefined) query.set(key, String(value));
  return query.size === 0 ? "" : `?${query.toString()}`;
}

function kubeObject(store: string, value: unknown, where: string): KubeObject {
  const body = members(value);
  const metadata = members(body?.["metadata"]);
  const name = words(metadata?.["name"]) ?? "";
  if (body === undefined || name === "" || name.length > 253)
    throw unusable(store, `${where} holds something that is no object with a name`);
  return { name, resourceVersion: words(metadata?.["resourceVersion"]) ?? "", body };
}

function pageOf(store: string, body: Members): Page {
  const { items } = body;
  const metadata = members(body["metadata"]);
  const resourceVersion = words(metadata?.["resourceVersion"]) ?? "";
  if (!Array.isArray(items) || resourceVersion === "") throw unusable(store, "the answer is no list");
  return {
    objects: (items as readonly unknown[]).map((item) => kubeObject(store, item, "the list")),
    resourceVersion,
    continue: words(metadata?.["continue"]) ?? "",
  };
}

function eventOf(store: string, asked: string, line: Members): WatchEvent {
  const { type, object } = line;
  switch (type) {
    case "ADDED":
    case "MODIFIED":
      return { kind: "put", object: kubeObject(store, object, "an event") };
    case "DELETED":
      return { kind: "gone", object: kubeObject(store, object, "an event") };
    case "BOOKMARK": {
      const resourceVersion = words(members(members(object)?.["metadata"])?.["resourceVersion"]) ?? "";
      if (resourceVersion === "") throw unusable(store, "a bookmark without a version");
      return { kind: "bookmark", resourceVersion };
    }
    case "ERROR":
      throw errorOf(store, asked, refusalOf(500, members(object)));
    default:
      throw unusable(store, "an event of a type that nobody knows");
  }
}
