/**
 * The form of objects: what fields there are, of which type, and how a strategic merge patch joins their lists. The real server
 * has it from the types of its language; what is not here is unknown to it too.
 */
import { isJsonObject, type Json, type JsonObject } from "./json.ts";

export type Schema =
  | { readonly kind: "string" | "integer" | "boolean" | "quantity" | "anything" }
  | { readonly kind: "map"; readonly of: Schema }
  | {
      readonly kind: "object";
      readonly fields: Readonly<Record<string, Schema>>;
      /** A union: a patch that sets one member with `$retainKeys` takes the others out. */
      readonly retainKeys?: true;
    }
  /** A list is replaced as a whole; or joined by a key of its items; or, of plain values, as a set. */
  | { readonly kind: "list"; readonly of: Schema; readonly by?: string; readonly set?: true };

export const text: Schema = { kind: "string" };
export const integer: Schema = { kind: "integer" };
export const flag: Schema = { kind: "boolean" };
/** A number with a unit, as `100m`, or a number or a name, as a port: both are strings or integers. */
export const quantity: Schema = { kind: "quantity" };
export const anything: Schema = { kind: "anything" };
export const map = (of: Schema): Schema => ({ kind: "map", of });
export const object = (fields: Readonly<Record<string, Schema>>): Schema => ({ kind: "object", fields });
export const union = (fields: Readonly<Record<string, Schema>>): Schema => ({
  kind: "object",
  fields,
  retainKeys: true,
});
export const list = (of: Schema): Schema => ({ kind: "list", of });
export const listBy = (by: string, of: Schema): Schema => ({ kind: "list", of, by });
export const set = (of: Schema): Schema => ({ kind: "list", of, set: true });

export interface Decoded {
  /** Without the fields that the schema does not know. */
  readonly value: Json;
  readonly unknown: readonly string[];
  /** Values of a wrong type; if there is one, the request is refused. */
  readonly wrong: readonly string[];
}

const fits: { readonly [K in "string" | "integer" | "boolean" | "quantity"]: (value: Json) => boolean } = {
  string: (value) => typeof value === "string",
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  quantity: (value) => typeof value === "string" || Number.isInteger(value),
};

/** A value as the schema sees it. `null` is the same as absent. */
export function decode(schema: Schema, value: Json, path = ""): Decoded {
  const unknown: string[] = [];
  const wrong: string[] = [];
  const visit = (of: Schema, found: Json, at: string): Json => {
    switch (of.kind) {
      case "anything":
        return found;
      case "object":
      case "map": {
        if (!isJsonObject(found)) break;
        const out: Record<string, Json> = {};
        for (const [key, item] of Object.entries(found)) {
          const below = at === "" ? key : `${at}.${key}`;
          const field =
            of.kind === "map" ? of.of : Object.hasOwn(of.fields, key) ? of.fields[key] : undefined;
          if (field === undefined) unknown.push(below);
          else if (item !== null) out[key] = visit(field, item, below);
        }
        return out;
      }
      case "list":
        if (!Array.isArray(found)) break;
        return (found as readonly Json[]).map((item, i) => visit(of.of, item, `${at}[${i}]`));
      case "string":
      case "integer":
      case "boolean":
      case "quantity":
        if (fits[of.kind](found)) return found;
    }
    wrong.push(`${at}: ${JSON.stringify(found)?.slice(0, 80)} is not of type ${of.kind}`);
    return null;
  };
  return { value: visit(schema, value, path), unknown, wrong };
}

/** The same for an object, which stays one. */
export function decodeObject(
  schema: Schema,
  value: JsonObject,
): Omit<Decoded, "value"> & { readonly value: JsonObject } {
  const decoded = decode(schema, value);
  return { ...decoded, value: isJsonObject(decoded.value) ? decoded.value : {} };
}
