/** JSON as the API server's parts hand it to one another: never changed in place, so that an old version stays what it was. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The object at a path of keys; an empty one if there is none. */
export function objectAt(value: JsonObject | undefined, ...path: readonly string[]): JsonObject {
  let at: Json | undefined = value;
  for (const key of path) at = isJsonObject(at) ? at[key] : undefined;
  return isJsonObject(at) ? at : {};
}

export const listAt = (value: JsonObject, ...path: readonly string[]): readonly Json[] => {
  const last = path.at(-1) ?? "";
  const found = objectAt(value, ...path.slice(0, -1))[last];
  return Array.isArray(found) ? (found as readonly Json[]) : [];
};

export const textAt = (value: JsonObject | undefined, ...path: readonly string[]): string => {
  const last = path.at(-1) ?? "";
  const found = objectAt(value, ...path.slice(0, -1))[last];
  return typeof found === "string" ? found : "";
};

/** The object without some keys. */
export const without = (value: JsonObject, ...keys: readonly string[]): JsonObject =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));

export const sameJson = (a: Json | undefined, b: Json | undefined): boolean => Bun.deepEquals(a, b, true);

/** The metadata of an object with some of its keys replaced; `undefined` takes a key out. */
export function withMetadata(
  object: JsonObject,
  changes: Readonly<Record<string, Json | undefined>>,
): JsonObject {
  const metadata: Record<string, Json> = { ...objectAt(object, "metadata") };
  for (const [key, value] of Object.entries(changes))
    if (value === undefined) delete metadata[key];
    else metadata[key] = value;
  return { ...object, metadata };
}

/** A value for a person: a text as it is, everything else as JSON. */
export const plain = (value: Json | undefined): string =>
  typeof value === "string" ? value : (JSON.stringify(value) ?? "");
