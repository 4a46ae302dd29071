/**
 * `CNI_ARGS`: pairs `K=V` with semicolons between. The rules are those that runtimes rely on: keys keep their
 * case, a key that the plugin does not know is an error unless `IgnoreUnknown` is set (Kubernetes always sets it).
 */
import { NetError } from "../errors.ts";

const refuse = (why: string): NetError => new NetError("env/invalid", { variables: ["CNI_ARGS"], why });

/** `1`, `true`, `0` or `false`, the words in any case. */
function parseSwitch(value: string): boolean {
  const word = value.toLowerCase();
  if (word === "1" || word === "true") return true;
  if (word === "0" || word === "false") return false;
  throw refuse(`IgnoreUnknown must be 0, 1, true or false, not "${value}"`);
}

/** Splits the text into pairs; nothing gives none. A part without exactly one `=` is refused. */
export function splitCniArgs(text: string): readonly (readonly [key: string, value: string])[] {
  if (text === "") return [];
  return text.split(";").map((part) => {
    const [key, value, ...more] = part.split("=");
    if (key === undefined || value === undefined || more.length > 0)
      throw refuse(`"${part}" is not KEY=VALUE`);
    return [key, value] as const;
  });
}

/**
 * The values of the keys that the plugin knows; of a repeated key the last. Every pair is still checked for form.
 * @throws env/invalid
 */
export function parseCniArgs<K extends string>(
  text: string,
  known: readonly K[],
): { readonly [P in K]?: string } {
  const pairs = splitCniArgs(text);
  const switched = pairs.findLast(([key]) => key === "IgnoreUnknown");
  const ignoreUnknown = switched !== undefined && parseSwitch(switched[1]);
  const found: { [P in K]?: string } = {};
  const unknown: string[] = [];
  for (const [key, value] of pairs) {
    const name = known.find((k) => k === key);
    if (name !== undefined) found[name] = value;
    else if (key !== "IgnoreUnknown") unknown.push(key);
  }
  if (unknown.length > 0 && !ignoreUnknown) throw refuse(`unknown arguments ${unknown.join(", ")}`);
  return found;
}

/** The text that a runtime puts into the environment. */
export function joinCniArgs(pairs: readonly (readonly [key: string, value: string])[]): string {
  return pairs.map(([key, value]) => `${key}=${value}`).join(";");
}
