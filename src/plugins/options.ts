/**
 * Which keys a plugin knows, as its decoders tell: for the validation of configurations, and for the test that
 * compares them with the plugin's README.
 */
import { type Decode, decoderOf } from "../cni/json.ts";

/**
 * The path of every key that the decoders know, objects before what is in them: `ipam`, `ipam.ranges`,
 * `ipam.ranges[][].subnet`.
 */
export function optionPaths(options: readonly Decode<unknown>[]): readonly string[] {
  return [...new Set(options.flatMap((decode) => pathsBelow(decode, "")))];
}

function pathsBelow({ inner }: Decode<unknown>, at: string): readonly string[] {
  if (inner === undefined) return [];
  if (inner.kind === "list") return pathsBelow(inner.item, `${at}[]`);
  return Object.entries(inner.fields).flatMap(([key, field]) => {
    const here = at === "" ? key : `${at}.${key}`;
    return [here, ...pathsBelow(decoderOf(field), here)];
  });
}
