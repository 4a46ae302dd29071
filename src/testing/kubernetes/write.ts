/** Writing: create, the three patches, delete; what belongs to whom, and who was first. */
import {
  alreadyExists,
  ApiError,
  badRequest,
  type Cause,
  conflict,
  invalid,
  notFound,
  unsupportedMedia,
} from "./api-error.ts";
import {
  isJsonObject,
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  sameJson,
  textAt,
  withMetadata,
  without,
  plain,
} from "./json.ts";
import { jsonPatch, mergePatch, PatchError, strategicMergePatch } from "./patch.ts";
import { getObject, keyOf, type Target } from "./read.ts";
import { apiVersionOf, resourceOf } from "./resources.ts";
import { decodeObject } from "./schema.ts";
import type { Store } from "./store.ts";

/** What was written, and what the writer should be told. */
export interface Written {
  readonly object: JsonObject;
  readonly warnings: readonly string[];
}

/** What a client may say about fields that nobody knows. */
export type FieldValidation = "Strict" | "Warn" | "Ignore";

export const PATCHES = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
] as const;

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** Roles may be called as they like, but for what a path cannot hold. */
const ROLE_NAME = /^(?!\.{1,2}$)[^/%]+$/;
const now = (): string => `${new Date().toISOString().slice(0, 19)}Z`;

/** @throws ApiError 400, 404, 409, 422 */
export function createObject(
  store: Store,
  target: Target,
  body: JsonObject,
  validation: FieldValidation,
): Written {
  const { resource, namespace } = target;
  const { object: given, warnings } = understood(target, body, validation);
  const said = objectAt(given, "metadata");
  const name = textAt(said, "name");
  if (textAt(said, "resourceVersion") !== "")
    throw badRequest("resourceVersion should not be set on objects to be created");
  if (resource.namespaced && store.get(`/namespaces//${namespace}`) === undefined)
    throw notFound({ group: "", plural: "namespaces", kind: "Namespace" }, namespace);
  const made = withMetadata(given, {
    name,
    namespace: resource.namespaced ? namespace : undefined,
    uid: crypto.randomUUID(),
    creationTimestamp: now(),
    generation: resource.generation === true ? 1 : undefined,
    deletionTimestamp: undefined,
  });
  const object = resource.created?.(made) ?? made;
  mustBeValid(target, object, undefined);
  const key = keyOf({ ...target, name });
  if (store.get(key) !== undefined) throw alreadyExists(resource, name);
  return { object: put(store, key, object), warnings };
}

/** @throws ApiError 400, 404, 409, 415, 422 */
export function patchObject(
  store: Store,
  target: Target,
  subresource: string,
  request: { readonly type: string; readonly patch: Json; readonly validation: FieldValidation },
): Written {
  if (!PATCHES.some((type) => type === request.type)) throw unsupportedMedia(PATCHES);
  const before = getObject(store, target);
  const patched = applied(target, request.type, before, request.patch);
  const { object, warnings } = understood(target, patched, request.validation);
  return { object: replace(store, target, subresource, before, object), warnings };
}

function applied(target: Target, type: string, before: JsonObject, patch: Json): JsonObject {
  try {
    const result =
      type === PATCHES[0]
        ? jsonPatch(before, patch)
        : type === PATCHES[1]
          ? mergePatch(before, patch)
          : strategicMergePatch(target.resource.schema, before, patch);
    if (!isJsonObject(patch) && type !== PATCHES[0]) throw new PatchError("a patch is an object");
    if (isJsonObject(result)) return result;
    throw new PatchError("the result is no object");
  } catch (e) {
    if (!(e instanceof PatchError)) throw e;
    throw new ApiError(
      422,
      "Invalid",
      `the server rejected our request due to an error in our request: ${e.message}`,
    );
  }
}

/** The new version of an object: its own writer's part of it from `given`, the rest as it was. */
function replace(
  store: Store,
  target: Target,
  subresource: string,
  before: JsonObject,
  given: JsonObject,
): JsonObject {
  const { resource, name } = target;
  const old = objectAt(before, "metadata");
  const said = objectAt(given, "metadata");
  const version = textAt(said, "resourceVersion");
  if (version !== "" && version !== textAt(old, "resourceVersion")) throw conflict(resource, name);
  const uid = textAt(said, "uid");
  if (uid !== "" && uid !== old["uid"])
    throw conflict(
      resource,
      name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${plain(old["uid"])}`,
    );
  const kept =
    subresource === "status"
      ? ({ ...before, metadata: said, ...partOf(given, "status") } satisfies JsonObject)
      : resource.status === true
        ? { ...without(given, "status"), ...partOf(before, "status") }
        : given;
  const specChanged = !sameJson(objectAt(before, "spec"), objectAt(kept, "spec"));
  const object = withMetadata(kept, {
    resourceVersion: old["resourceVersion"],
    uid: old["uid"],
    creationTimestamp: old["creationTimestamp"],
    deletionTimestamp: old["deletionTimestamp"],
    generation:
      resource.generation === true
        ? Number(old["generation"] ?? 0) + (specChanged ? 1 : 0)
        : old["generation"],
  });
  mustBeValid(target, object, before);
  const finished =
    textAt(old, "deletionTimestamp") !== "" && listAt(object, "metadata", "finalizers").length === 0;
  if (finished) {
    store.write(keyOf(target), () => undefined);
    return object;
  }
  return sameJson(object, before) ? before : put(store, keyOf(target), object);
}

const partOf = (object: JsonObject, key: string): JsonObject => {
  const value = object[key];
  return value === undefined ? {} : { [key]: value };
};

function put(store: Store, key: string, object: JsonObject): JsonObject {
  let written = object;
  store.write(key, (revision) => {
    written = withMetadata(object, { resourceVersion: String(revision) });
    return written;
  });
  return written;
}

/** The body as an object of the kind that the path is about. */
function understood(
  { resource, name, namespace }: Target,
  body: JsonObject,
  validation: FieldValidation,
): { readonly object: JsonObject; readonly warnings: readonly string[] } {
  const apiVersion = apiVersionOf(resource);
  const kind = textAt(body, "kind") || resource.kind;
  const version = textAt(body, "apiVersion") || apiVersion;
  if (kind !== resource.kind || version !== apiVersion)
    throw badRequest(
      `${kind} in version "${version}" cannot be handled as a ${resource.kind}: the API version in the data (${version}, ${kind}) does not match the expected API version (${apiVersion}, ${resource.kind})`,
    );
  const { value, unknown, wrong } = decodeObject(resource.schema, body);
  const as = `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}`;
  if (wrong.length > 0) throw badRequest(`${as}: ${wrong.join(", ")}`);
  const complaints = unknown.map((field) => `unknown field "${field}"`);
  if (complaints.length > 0 && validation === "Strict")
    throw badRequest(`${as}: strict decoding error: ${complaints.join(", ")}`);
  const metadata = objectAt(value, "metadata");
  if (name !== "" && textAt(metadata, "name") !== name)
    throw badRequest(
      `the name of the object (${textAt(metadata, "name")}) does not match the name on the URL (${name})`,
    );
  const saidNamespace = textAt(metadata, "namespace");
  if (saidNamespace !== "" && saidNamespace !== namespace)
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  const object = { ...value, apiVersion, kind: resource.kind };
  return {
    object: resource.normal?.(object) ?? object,
    warnings: validation === "Warn" ? complaints : [],
  };
}

const LABEL = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

function mustBeValid(target: Target, object: JsonObject, before: JsonObject | undefined): void {
  const { resource } = target;
  const metadata = objectAt(object, "metadata");
  const name = textAt(metadata, "name");
  const bad = (field: string, value: string, why: string): Cause => ({
    field,
    reason: "FieldValueInvalid",
    message: `Invalid value: ${JSON.stringify(value)}: ${why}`,
  });
  const names = resource.group === "rbac.authorization.k8s.io" ? ROLE_NAME : NAME;
  const nameCauses: readonly Cause[] =
    name === ""
      ? [
          {
            field: "metadata.name",
            reason: "FieldValueRequired",
            message: "Required value: name is required",
          },
        ]
      : names.test(name) && name.length <= 253
        ? []
        : [bad("metadata.name", name, "a lowercase RFC 1123 subdomain is needed")];
  const labelCauses = Object.entries(objectAt(metadata, "labels")).flatMap(([key, value]) => [
    ...(LABEL.test(key) ? [] : [bad("metadata.labels", key, "not a qualified name")]),
    ...(LABEL_VALUE.test(plain(value)) ? [] : [bad("metadata.labels", plain(value), "not a label's value")]),
  ]);
  const annotations = Object.entries(objectAt(metadata, "annotations"));
  const annotationCauses = annotations
    .filter(([key]) => !LABEL.test(key.toLowerCase()))
    .map(([key]) => bad("metadata.annotations", key, "not a qualified name"));
  const size = annotations.reduce((n, [key, value]) => n + key.length + plain(value).length, 0);
  const tooLong =
    size > 256 * 1024 ? [bad("metadata.annotations", "", "may not be more than 262144 bytes")] : [];
  const causes = [
    ...nameCauses,
    ...labelCauses,
    ...annotationCauses,
    ...tooLong,
    ...(resource.validate?.(object, before) ?? []),
  ];
  if (causes.length > 0) throw invalid(resource, name, causes);
}

/** Deletes, or marks what has finalizers for deletion. Returns what is answered. @throws ApiError 404, 409 */
export function deleteObject(store: Store, target: Target, options: JsonObject): JsonObject {
  const { resource, name } = target;
  const object = getObject(store, target);
  const metadata = objectAt(object, "metadata");
  for (const field of ["uid", "resourceVersion"] as const) {
    const wanted = textAt(options, "preconditions", field);
    if (wanted !== "" && wanted !== metadata[field])
      throw conflict(
        resource,
        name,
        `Precondition failed: ${field} in precondition: ${wanted}, in object meta: ${plain(metadata[field])}`,
      );
  }
  const marked = withMetadata(object, { deletionTimestamp: now(), deletionGracePeriodSeconds: 0 });
  if (listAt(object, "metadata", "finalizers").length > 0)
    return textAt(metadata, "deletionTimestamp") === "" ? put(store, keyOf(target), marked) : object;
  if (resource.plural === "namespaces" && resource.group === "")
    return endNamespace(store, target, { ...marked, status: { phase: "Terminating" } });
  store.write(keyOf(target), () => undefined);
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: {
      name,
      ...(resource.group === "" ? {} : { group: resource.group }),
      kind: resource.plural,
      uid: metadata["uid"] ?? "",
    },
  };
}

/** A namespace ends after all that is in it. */
function endNamespace(store: Store, target: Target, marked: JsonObject): JsonObject {
  const terminating = put(store, keyOf(target), marked);
  for (const [key] of store.at("", store.revision())) {
    const [group = "", plural = "", namespace] = key.split("/");
    const isInside = namespace === target.name && resourceOf(group, plural)?.namespaced === true;
    if (isInside) store.write(key, () => undefined);
  }
  store.write(keyOf(target), () => undefined);
  return terminating;
}
