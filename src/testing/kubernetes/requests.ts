/** One request: what it is about, whether its user may, and which verb serves it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Attempt, mayDo, refusalOf, type User } from "./access.ts";
import {
  ApiError,
  badRequest,
  methodNotAllowed,
  noSuchPath,
  notAcceptable,
  unsupportedMedia,
} from "./api-error.ts";
import { discover, reviews } from "./discovery.ts";
import { isJsonObject, type Json, type JsonObject, objectAt, textAt } from "./json.ts";
import { getObject, listBody, listObjects, type Target } from "./read.ts";
import { fromProtobuf, PROTOBUF } from "./protobuf.ts";
import { resourceOf } from "./resources.ts";
import type { Store } from "./store.ts";
import { tableOf } from "./table.ts";
import { serveWatch } from "./watch.ts";
import {
  createObject,
  deleteObject,
  type FieldValidation,
  PATCHES,
  patchObject,
  type Written,
} from "./write.ts";

/** The real server's bound for a body. */
const BODY_BYTES = 3 * 1024 * 1024;

interface Call {
  readonly target: Target;
  readonly subresource: string;
  readonly verb: string;
}

/** Serves a request. @throws ApiError before anything of an answer was sent */
export async function serveRequest(
  store: Store,
  user: User,
  request: IncomingMessage,
  answer: ServerResponse,
  bookmarkEveryMs: number,
): Promise<void> {
  const url = new URL(request.url ?? "/", "https://server");
  const path = decodeURIComponent(url.pathname).replace(/(?<=.)\/$/, "");
  const query = url.searchParams;
  const method = request.method ?? "";
  const review = reviews.find(({ group, plural }) => path === `/apis/${group}/v1/${plural}`);
  if (review !== undefined && method === "POST") {
    mustMay(store, user, resourceAttempt("create", review.group, review.plural, "", ""));
    return send(answer, 201, reviewed(store, user, await bodyOf(request)));
  }
  const call = callOf(method, path, query);
  if (call === undefined) {
    mustMay(store, user, { kind: "path", verb: method.toLowerCase(), path });
    const found = discover(path);
    if (method !== "GET") throw methodNotAllowed();
    if (typeof found !== "string") return send(answer, 200, found);
    answer.writeHead(200, { "content-type": "text/plain" }).end(found);
    return undefined;
  }
  const { target, subresource, verb } = call;
  const { resource, namespace, name } = target;
  const plural = subresource === "" ? resource.plural : `${resource.plural}/${subresource}`;
  mustMay(store, user, resourceAttempt(verb, resource.group, plural, namespace, name));
  if (query.has("dryRun")) throw badRequest("dryRun: this server can only do it or not");
  const table = wantsTable(request);
  const form = (object: JsonObject, isFirst = true): JsonObject =>
    table
      ? tableOf(
          resource,
          [object],
          { resourceVersion: textAt(object, "metadata", "resourceVersion") },
          isFirst,
        )
      : object;
  switch (verb) {
    case "get":
      return send(answer, 200, form(getObject(store, target)));
    case "list": {
      const page = listObjects(store, target, query);
      const body = table ? tableOf(resource, page.items, page.metadata) : listBody(resource, page);
      return send(answer, 200, body);
    }
    case "watch":
      return serveWatch({ store, target, query, bookmarkEveryMs, form }, answer);
    case "delete":
      return send(answer, 200, deleteObject(store, target, optionsOf(await bodyOf(request))));
    default: {
      const written = await write(store, call, request, query);
      return send(answer, verb === "create" ? 201 : 200, form(written.object), written.warnings);
    }
  }
}

async function write(
  store: Store,
  { target, subresource, verb }: Call,
  request: IncomingMessage,
  query: URLSearchParams,
): Promise<Written> {
  const validation = (query.get("fieldValidation") ?? "Warn") as FieldValidation;
  if (!["Strict", "Warn", "Ignore"].includes(validation))
    throw badRequest(`fieldValidation: Unsupported value: "${validation}"`);
  const body = await bodyOf(request);
  if (verb === "patch")
    return patchObject(store, target, subresource, { type: mediaType(request), patch: body, validation });
  if (!isJsonObject(body)) throw badRequest("the body is no object");
  return createObject(store, target, body, validation);
}

const PATH = /^\/(?:api|apis\/([^/]+))\/v1(?:\/namespaces\/([^/]+))?\/([^/]+)(?:\/([^/]+)(?:\/([^/]+))?)?$/;

/** What the path names; undefined if it is no path of a resource. @throws ApiError 404, 405 */
function callOf(method: string, path: string, query: URLSearchParams): Call | undefined {
  const parts = partsOf(path);
  if (parts === undefined) return undefined;
  const [group = "", namespace = "", plural = "", name = "", subresource = ""] = parts;
  const resource = resourceOf(group, plural);
  if (resource === undefined || (namespace !== "" && !resource.namespaced)) throw noSuchPath();
  if (subresource !== "" && (subresource !== "status" || resource.status !== true)) throw noSuchPath();
  const watches = ["true", "1"].includes(query.get("watch") ?? "");
  const named: Readonly<Record<string, string>> = {
    GET: "get",
    PATCH: "patch",
    DELETE: "delete",
  };
  const unnamed: Readonly<Record<string, string>> = { GET: watches ? "watch" : "list", POST: "create" };
  const verb = (name === "" ? unnamed : named)[method];
  if (verb === undefined || (subresource !== "" && verb === "delete")) throw methodNotAllowed();
  if (resource.namespaced && namespace === "" && !["list", "watch"].includes(verb)) throw methodNotAllowed();
  return { target: { resource, namespace, name }, subresource, verb };
}

function partsOf(path: string): readonly (string | undefined)[] | undefined {
  // A namespace itself is read at the path at which the things in it begin.
  const own = /^\/api\/v1\/namespaces(?:\/([^/]+)(?:\/(status))?)?$/.exec(path);
  if (own !== null) return ["", "", "namespaces", own[1], own[2]];
  const parts = PATH.exec(path)?.slice(1);
  return parts?.[2] === "namespaces" ? undefined : parts;
}

const resourceAttempt = (
  verb: string,
  group: string,
  resource: string,
  namespace: string,
  name: string,
): Attempt => ({ kind: "resource", verb, group, resource, namespace, name });

function mustMay(store: Store, user: User, attempt: Attempt): void {
  if (mayDo(store, user, attempt)) return;
  const details: JsonObject =
    attempt.kind === "path"
      ? {}
      : {
          ...(attempt.name === "" ? {} : { name: attempt.name }),
          ...(attempt.group === "" ? {} : { group: attempt.group }),
          kind: attempt.resource.split("/")[0] ?? "",
        };
  throw new ApiError(403, "Forbidden", refusalOf(user, attempt), details);
}

/** The answer to somebody who asks who he is, or what he may do. */
function reviewed(store: Store, user: User, body: Json): JsonObject {
  if (!isJsonObject(body)) throw badRequest("the body is no object");
  if (body["kind"] === "SelfSubjectReview")
    return { ...body, status: { userInfo: { username: user.name, groups: user.groups } } };
  const about = objectAt(body, "spec", "resourceAttributes");
  const path = objectAt(body, "spec", "nonResourceAttributes");
  const of = (key: string): string => textAt(about, key);
  const resource = of("subresource") === "" ? of("resource") : `${of("resource")}/${of("subresource")}`;
  const allowed = mayDo(
    store,
    user,
    isJsonObject(body["spec"]) && isJsonObject(body["spec"]["resourceAttributes"])
      ? resourceAttempt(of("verb"), of("group"), resource, of("namespace"), of("name"))
      : { kind: "path", verb: textAt(path, "verb"), path: textAt(path, "path") },
  );
  return { ...body, status: { allowed } };
}

const mediaType = (request: IncomingMessage): string =>
  (request.headers["content-type"] ?? "application/json").split(";")[0]?.trim() ?? "";

async function bodyOf(request: IncomingMessage): Promise<Json> {
  const type = mediaType(request);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > BODY_BYTES)
      throw new ApiError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${BODY_BYTES}`);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length === 0) return {};
  const accepted = ["application/json", "application/yaml"];
  if (type === PROTOBUF) {
    const object = fromProtobuf(bytes);
    if (object === undefined) throw unsupportedMedia(accepted);
    return object;
  }
  if (!accepted.includes(type) && !PATCHES.some((patch) => patch === type)) throw unsupportedMedia(accepted);
  const text = bytes.toString();
  try {
    return (type.endsWith("yaml") ? Bun.YAML.parse(text) : JSON.parse(text)) as Json;
  } catch (e) {
    throw badRequest(`the object provided is unrecognized: ${e instanceof Error ? e.message : ""}`);
  }
}

const optionsOf = (body: Json): JsonObject => (isJsonObject(body) ? body : {});

/** Whether rows are wanted rather than objects. @throws ApiError 406 */
function wantsTable(request: IncomingMessage): boolean {
  const accepted = (request.headers.accept ?? "*/*").split(",").map((type) => type.replaceAll(" ", ""));
  if (accepted.some((type) => type.startsWith("application/json;") && type.includes("as=Table"))) return true;
  if (accepted.some((type) => /^(application\/json|application\/\*|\*\/\*)(;(?!as=)|$)/.test(type)))
    return false;
  throw notAcceptable();
}

function send(
  answer: ServerResponse,
  code: number,
  body: JsonObject,
  warnings: readonly string[] = [],
): void {
  const text = JSON.stringify(body);
  const told = warnings.map((warning) => `299 - ${JSON.stringify(warning)}`);
  answer.writeHead(code, {
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(text)),
    ...(told.length === 0 ? {} : { warning: told.join(", ") }),
  });
  answer.end(text);
}
