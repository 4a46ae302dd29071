/** Label and field selectors: which objects a list or a watch is about. */
import { badRequest } from "./api-error.ts";
import { type JsonObject, objectAt, textAt } from "./json.ts";

export type Matches = (object: JsonObject) => boolean;

/** Both selectors of a request. @throws ApiError 400 if one is malformed or looks at an unknown field */
export function selectorOf(labels: string, fields: string): Matches {
  const tests = [...splitOutside(labels).map(labelTest), ...splitOutside(fields).map(fieldTest)];
  return (object) => tests.every((fits) => fits(object));
}

/** Splits at commas, not at those in brackets. */
const splitOutside = (text: string): readonly string[] =>
  (text.match(/(?:[^,(]|\([^)]*\))+/g) ?? []).map((part) => part.trim()).filter((part) => part !== "");

const KEY = "[A-Za-z0-9./_-]+";
function labelTest(text: string): Matches {
  const labelsOf = (object: JsonObject): JsonObject => objectAt(object, "metadata", "labels");
  const equal = new RegExp(`^(${KEY})\\s*(==?|!=)\\s*([A-Za-z0-9._-]*)$`).exec(text);
  if (equal !== null) {
    const [, key = "", operator, value] = equal;
    return (object) => (labelsOf(object)[key] === value) === (operator !== "!=");
  }
  const within = new RegExp(`^(${KEY})\\s+(in|notin)\\s*\\(([^)]*)\\)$`).exec(text);
  if (within !== null) {
    const [, key = "", operator, values = ""] = within;
    const words = values.split(",").map((word) => word.trim());
    return (object) => {
      const label = labelsOf(object)[key];
      return (typeof label === "string" && words.includes(label)) === (operator === "in");
    };
  }
  const exists = new RegExp(`^(!?)\\s*(${KEY})$`).exec(text);
  if (exists === null) throw badRequest(`unable to parse requirement: found '${text}'`);
  const [, not, key = ""] = exists;
  return (object) => Object.hasOwn(labelsOf(object), key) === (not === "");
}

/** Of the fields the name alone can be asked for. */
function fieldTest(text: string): Matches {
  const [, field = "", operator, value = ""] = /^([A-Za-z.]+)(==?|!=)(.*)$/.exec(text) ?? [];
  if (operator === undefined) throw badRequest(`invalid selector: '${text}'; can't understand '${text}'`);
  if (field !== "metadata.name") throw badRequest(`field label not supported: ${field}`);
  return (object) => (textAt(object, "metadata", "name") === value) === (operator !== "!=");
}
