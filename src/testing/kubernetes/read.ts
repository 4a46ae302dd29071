/** Reading: one object, lists in pages, and how the pages of one list stay of one moment. */
import { badRequest, expired, notFound, tooNew } from "./api-error.ts";
import type { JsonObject } from "./json.ts";
import { without } from "./json.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { selectorOf } from "./selectors.ts";
import type { Store } from "./store.ts";

export interface Target {
  readonly resource: Resource;
  readonly namespace: string;
  readonly name: string;
}

export const prefixOf = ({ resource, namespace }: Target): string =>
  `${resource.group}/${resource.plural}/${namespace === "" && resource.namespaced ? "" : `${namespace}/`}`;
export const keyOf = ({ resource, namespace, name }: Target): string =>
  `${resource.group}/${resource.plural}/${namespace}/${name}`;

/** @throws ApiError 404 */
export function getObject(store: Store, target: Target): JsonObject {
  const found = store.get(keyOf(target));
  if (found === undefined) throw notFound(target.resource, target.name);
  return found;
}

export interface Page {
  readonly metadata: JsonObject;
  readonly items: readonly JsonObject[];
}

/** A page of a list, by the query's `limit`, `continue`, `resourceVersion` and selectors. */
export function listObjects(store: Store, target: Target, query: URLSearchParams): Page {
  const matches = selectorOf(query.get("labelSelector") ?? "", query.get("fieldSelector") ?? "");
  const { revision, start } = whereToList(store, query);
  const all = store.at(prefixOf(target), revision);
  const rest = all.filter(([key, object]) => key >= start && matches(object));
  // A list of any moment comes from the cache, which knows no pages.
  const limit = query.get("resourceVersion") === "0" ? 0 : count(query, "limit");
  const page = limit === 0 ? rest : rest.slice(0, limit);
  const more = rest.length - page.length;
  const isSelected = query.has("labelSelector") || query.has("fieldSelector");
  return {
    metadata: {
      resourceVersion: String(revision),
      ...(more === 0 ? {} : { continue: tokenOf(revision, `${page.at(-1)?.[0] ?? ""}\0`) }),
      ...(more === 0 || isSelected ? {} : { remainingItemCount: more }),
    },
    items: page.map(([, object]) => object),
  };
}

/** The list as one object. Its items do not say again of what kind they are. */
export const listBody = (resource: Resource, { metadata, items }: Page): JsonObject => ({
  kind: `${resource.kind}List`,
  apiVersion: apiVersionOf(resource),
  metadata,
  items: items.map((item) => without(item, "kind", "apiVersion")),
});

function whereToList(
  store: Store,
  query: URLSearchParams,
): { readonly revision: number; readonly start: string } {
  const token = query.get("continue") ?? "";
  const wanted = query.get("resourceVersion") ?? "";
  const match = query.get("resourceVersionMatch") ?? "";
  if (!["", "NotOlderThan"].includes(match))
    throw badRequest(`resourceVersionMatch: this server does not know "${match}"`);
  if (token !== "") return followed(store, token);
  const revision = revisionOf(wanted);
  if (revision > store.revision()) throw tooNew(revision, store.revision());
  return { revision: store.revision(), start: "" };
}

/** @throws ApiError 400 */
export function revisionOf(text: string): number {
  if (!/^\d{0,15}$/.test(text))
    throw badRequest(`Invalid value: ${JSON.stringify(text)}: not a resource version`);
  return Number(text);
}

export function count(query: URLSearchParams, key: string): number {
  const text = query.get(key) ?? "0";
  if (!/^\d{1,9}$/.test(text)) throw badRequest(`${key}: ${JSON.stringify(text)} is not a number`);
  return Number(text);
}

/** The revision of a list that goes on at any cost. */
const INCONSISTENT = -1;
const tokenOf = (rv: number, start: string): string =>
  Buffer.from(JSON.stringify({ v: "meta.k8s.io/v1", rv, start })).toString("base64url");

function followed(store: Store, token: string): { readonly revision: number; readonly start: string } {
  let said: unknown;
  try {
    said = JSON.parse(Buffer.from(token, "base64url").toString());
  } catch {
    throw badRequest("continue key is not valid");
  }
  const { v, rv, start } = said as Record<string, unknown>;
  if (v !== "meta.k8s.io/v1" || typeof rv !== "number" || typeof start !== "string")
    throw badRequest("continue key is not valid: incorrect encoded start resourceVersion or version");
  if (rv === INCONSISTENT) return { revision: store.revision(), start };
  if (rv < store.oldest())
    throw expired(
      "The provided continue parameter is too old. List again, or go on with the token in this answer: the rest is then of another moment than what came before.",
      tokenOf(INCONSISTENT, start),
    );
  return { revision: rv, start };
}
