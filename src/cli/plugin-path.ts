/** Where plugins are looked for: `CNI_PATH` as a person gives it, who may stand in a directory and mean it. */
import { resolve } from "node:path";
import { complain } from "./output.ts";

/**
 * The same directories, every one absolute, since plugins take no others. For each that was not, `warn` gets a line that
 * says what it was taken for.
 */
export function absolutePluginPath(given: string, warn: (line: string) => void = complain): string {
  return given
    .split(":")
    .map((dir) => {
      if (dir === "" || dir.startsWith("/")) return dir;
      const absolute = resolve(dir);
      warn(`heddle: CNI_PATH: "${dir}" is not absolute, taken as ${absolute}`);
      return absolute;
    })
    .join(":");
}
