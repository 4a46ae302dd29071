/**
 * The three kinds of patches: JSON patch (RFC 6902), merge patch (RFC 7386), and the strategic merge patch of Kubernetes, which
 * knows the lists that are joined by a key.
 */
import { isJsonObject, type Json, type JsonObject, sameJson, without, plain } from "./json.ts";
import type { Schema } from "./schema.ts";

/** A patch that cannot be done on this object; the text is the end of a sentence. */
export class PatchError extends Error {}

/** RFC 7386: objects are joined, `null` takes a key out, everything else is replaced. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const out: Record<string, Json> = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch))
    if (value === null) delete out[key];
    else out[key] = mergePatch(out[key], value);
  return out;
}

/** RFC 6902: operations in order, all or none. */
export function jsonPatch(target: Json, operations: Json): Json {
  if (!Array.isArray(operations)) throw new PatchError("a JSON patch is a list of operations");
  return (operations as readonly Json[]).reduce<Json>((value, operation) => {
    if (!isJsonObject(operation)) throw new PatchError("an operation is an object");
    const { op, path, from, value: given } = operation;
    const to = pointer(path);
    switch (plain(op)) {
      case "add":
        return edit(value, to, () => needed(given), "add");
      case "replace":
        return edit(value, to, () => needed(given), "replace");
      case "remove":
        return edit(value, to, () => undefined, "remove");
      case "test":
        if (!sameJson(find(value, to), needed(given)))
          throw new PatchError(`testing value ${plain(path)} failed`);
        return value;
      case "copy":
        return edit(value, to, () => found(value, from), "add");
      case "move": {
        const moved = found(value, from);
        return edit(
          edit(value, pointer(from), () => undefined, "remove"),
          to,
          () => moved,
          "add",
        );
      }
      default:
        throw new PatchError(`unexpected kind of operation: ${plain(op)}`);
    }
  }, target);
}

function needed(value: Json | undefined): Json {
  if (value === undefined) throw new PatchError("an operation lacks its value");
  return value;
}
function found(value: Json, from: Json | undefined): Json {
  const at = find(value, pointer(from));
  if (at === undefined) throw new PatchError(`nothing at ${plain(from)}`);
  return at;
}

function pointer(path: Json | undefined): readonly string[] {
  if (typeof path !== "string" || (path !== "" && !path.startsWith("/")))
    throw new PatchError(`not a JSON pointer: ${JSON.stringify(path)}`);
  return path
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function find(value: Json, path: readonly string[]): Json | undefined {
  let at: Json | undefined = value;
  for (const part of path)
    if (Array.isArray(at))
      at = /^(0|[1-9]\d*)$/.test(part) ? (at as readonly Json[])[Number(part)] : undefined;
    else at = isJsonObject(at) && Object.hasOwn(at, part) ? at[part] : undefined;
  return at;
}

type Edit = "add" | "replace" | "remove";
function edit(value: Json, path: readonly string[], make: () => Json | undefined, how: Edit): Json {
  const [head, ...rest] = path;
  if (head === undefined) {
    const made = make();
    if (made === undefined) throw new PatchError("the whole object cannot be removed");
    return made;
  }
  const missing = (): never => {
    throw new PatchError(`${how} operation does not apply: doc is missing path: /${path.join("/")}`);
  };
  if (Array.isArray(value)) {
    const items = value as readonly Json[];
    const at = head === "-" && how === "add" && rest.length === 0 ? items.length : Number(head);
    const last = how === "add" && rest.length === 0 ? items.length : items.length - 1;
    if (!/^(0|[1-9]\d*|-)$/.test(head) || !(at <= last)) return missing();
    if (rest.length > 0) return items.with(at, edit(items[at] ?? null, rest, make, how));
    const made = make();
    return items.toSpliced(at, how === "add" ? 0 : 1, ...(made === undefined ? [] : [made]));
  }
  if (!isJsonObject(value)) return missing();
  const own = Object.hasOwn(value, head) ? value[head] : undefined;
  if (rest.length > 0)
    return own === undefined ? missing() : { ...value, [head]: edit(own, rest, make, how) };
  if (how !== "add" && own === undefined) return missing();
  const made = make();
  return made === undefined ? without(value, head) : { ...value, [head]: made };
}

const DIRECTIVE = "$patch";
const RETAIN = "$retainKeys";
const ORDER = "$setElementOrder/";
const DELETE_FROM = "$deleteFromPrimitiveList/";

/** Like a merge patch, but lists with a key are joined item by item; `$patch` and its like say otherwise. */
export function strategicMergePatch(schema: Schema, target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const directive = patch[DIRECTIVE];
  if (directive === "replace") return without(patch, DIRECTIVE);
  if (directive === "delete") return {};
  if (directive !== undefined && directive !== "merge")
    throw new PatchError(`Unknown patch type: ${JSON.stringify(directive)}`);
  const before: JsonObject = isJsonObject(target) ? target : {};
  const out: Record<string, Json> = { ...before };
  const retain = patch[RETAIN];
  if (Array.isArray(retain)) for (const key of Object.keys(out)) if (!retain.includes(key)) delete out[key];
  for (const [key, value] of Object.entries(patch)) {
    if (key === DIRECTIVE || key === RETAIN || key.startsWith(ORDER)) continue;
    if (key.startsWith(DELETE_FROM)) {
      const field = key.slice(DELETE_FROM.length);
      const gone = Array.isArray(value) ? (value as readonly Json[]) : [];
      const items = out[field];
      if (Array.isArray(items))
        out[field] = (items as readonly Json[]).filter((item) => !gone.includes(item));
    } else if (value === null) delete out[key];
    else out[key] = mergeField(fieldOf(schema, key), out[key], value);
  }
  for (const [key, value] of Object.entries(patch)) {
    if (!key.startsWith(ORDER) || !Array.isArray(value)) continue;
    const field = key.slice(ORDER.length);
    const items = out[field];
    if (Array.isArray(items)) out[field] = ordered(fieldOf(schema, field), items as readonly Json[], value);
  }
  return out;
}

const NOTHING_KNOWN: Schema = { kind: "anything" };
function fieldOf(schema: Schema, key: string): Schema {
  if (schema.kind === "map") return schema.of;
  return (schema.kind === "object" ? schema.fields[key] : undefined) ?? NOTHING_KNOWN;
}

function mergeField(schema: Schema, before: Json | undefined, patch: Json): Json {
  if (schema.kind !== "list" || !Array.isArray(patch)) return strategicMergePatch(schema, before, patch);
  const items = patch as readonly Json[];
  const old = Array.isArray(before) ? (before as readonly Json[]) : [];
  if (schema.set === true) return [...old, ...items.filter((item) => !old.includes(item))];
  const { by } = schema;
  if (by === undefined) return items;
  const isDirective = (item: Json): boolean =>
    isJsonObject(item) && item[DIRECTIVE] === "replace" && Object.keys(item).length === 1;
  if (items.some(isDirective)) return items.filter((item) => !isDirective(item));
  let out = old;
  for (const item of items) {
    if (!isJsonObject(item)) throw new PatchError(`an item of a list with the key ${by} is no object`);
    const key = item[by];
    if (key === undefined)
      throw new PatchError(`map: ${JSON.stringify(item)} does not contain declared merge key: ${by}`);
    const at = out.findIndex((other) => isJsonObject(other) && sameJson(other[by], key));
    if (item[DIRECTIVE] === "delete") out = at < 0 ? out : out.toSpliced(at, 1);
    else if (at < 0) out = [...out, strategicMergePatch(schema.of, {}, item)];
    else out = out.with(at, strategicMergePatch(schema.of, out[at], item));
  }
  return out;
}

/** The items in the order that the patch tells; those that it does not name stay behind their neighbours. */
function ordered(schema: Schema, items: readonly Json[], order: readonly Json[]): Json {
  const by = schema.kind === "list" ? schema.by : undefined;
  const keyOf = (item: Json): Json | undefined =>
    by === undefined ? item : isJsonObject(item) ? item[by] : undefined;
  const rank = (item: Json): number => order.findIndex((other) => sameJson(keyOf(other), keyOf(item)));
  const named = items.filter((item) => rank(item) >= 0).toSorted((a, b) => rank(a) - rank(b));
  const out = [...named];
  for (const [i, item] of items.entries()) {
    if (rank(item) >= 0) continue;
    const neighbour = items[i - 1];
    out.splice(neighbour === undefined ? 0 : out.indexOf(neighbour) + 1, 0, item);
  }
  return out;
}
