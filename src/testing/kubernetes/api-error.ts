/** How the API server says no: an HTTP status with a Status object, whose reason is what clients go by. */
import type { Json, JsonObject } from "./json.ts";
import type { Resource } from "./resources.ts";

export class ApiError extends Error {
  readonly code: number;
  readonly body: JsonObject;
  constructor(
    code: number,
    reason: string,
    message: string,
    details?: JsonObject,
    metadata: JsonObject = {},
  ) {
    super(message);
    this.code = code;
    this.body = {
      kind: "Status",
      apiVersion: "v1",
      metadata,
      status: "Failure",
      message,
      reason,
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

type Named = Pick<Resource, "group" | "plural" | "kind">;
/** `nodes`, or with its group `daemonsets.apps`. */
const qualified = ({ group, plural }: Named): string => (group === "" ? plural : `${plural}.${group}`);
const detailsOf = (of: Named, name: string): JsonObject => ({
  name,
  ...(of.group === "" ? {} : { group: of.group }),
  kind: of.plural,
});

export const badRequest = (message: string): ApiError => new ApiError(400, "BadRequest", message);
export const unauthorized = (): ApiError => new ApiError(401, "Unauthorized", "Unauthorized");
export const notFound = (of: Named, name: string): ApiError =>
  new ApiError(404, "NotFound", `${qualified(of)} "${name}" not found`, detailsOf(of, name));
export const noSuchPath = (): ApiError =>
  new ApiError(404, "NotFound", "the server could not find the requested resource", {});
export const alreadyExists = (of: Named, name: string): ApiError =>
  new ApiError(409, "AlreadyExists", `${qualified(of)} "${name}" already exists`, detailsOf(of, name));
export const conflict = (of: Named, name: string, why?: string): ApiError =>
  new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(of)} "${name}": ${
      why ?? "the object has been modified; please apply your changes to the latest version and try again"
    }`,
    detailsOf(of, name),
  );
export const methodNotAllowed = (): ApiError =>
  new ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
export const notAcceptable = (): ApiError =>
  new ApiError(
    406,
    "NotAcceptable",
    "only the following media types are accepted: application/json, application/json;as=Table;g=meta.k8s.io;v=v1",
  );
export const unsupportedMedia = (accepted: readonly string[]): ApiError =>
  new ApiError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );

export interface Cause {
  readonly field: string;
  readonly reason: "FieldValueInvalid" | "FieldValueRequired" | "FieldValueForbidden";
  readonly message: string;
}
export function invalid(of: Named, name: string, causes: readonly Cause[]): ApiError {
  const lines = causes.map(({ field, message }) => `${field}: ${message}`);
  const text = lines.length === 1 ? (lines[0] ?? "") : `[${lines.join(", ")}]`;
  const kind = of.group === "" ? of.kind : `${of.kind}.${of.group}`;
  return new ApiError(422, "Invalid", `${kind} "${name}" is invalid: ${text}`, {
    ...detailsOf(of, name),
    kind: of.kind,
    causes: causes.map(({ field, reason, message }): Json => ({ field, reason, message })),
  });
}

/** A revision that is no longer kept. A list gets a token with which it may go on, at the cost of consistency. */
export const expired = (message: string, token?: string): ApiError =>
  new ApiError(410, "Expired", message, undefined, token === undefined ? {} : { continue: token });
export const tooOld = (wanted: number, oldest: number): ApiError =>
  expired(`too old resource version: ${wanted} (${oldest})`);
/** A revision that is not there yet: the real one waits three seconds for it and then says the same. */
export const tooNew = (wanted: number, newest: number): ApiError =>
  new ApiError(504, "Timeout", `Too large resource version: ${wanted}, current: ${newest}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });
