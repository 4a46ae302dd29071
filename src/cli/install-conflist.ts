/** Puts a network's configuration where container runtimes look for it, as one rename; what is wrong with it is told first. */
import { existsSync, mkdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { readText } from "../cni/load.ts";
import { parseNetworkList } from "../cni/list.ts";
import { fromSystem } from "../errors.ts";
import { replaceFile } from "./replace-file.ts";

/** Where a list is placed unless it is told: under its own name. */
export const conflistPath = (from: string): string =>
  `/etc/cni/net.d/${basename(from).replace(/\.[^.]*$/, "")}.conflist`;

/**
 * The file `to` holds the list of `from` afterwards.
 * @throws decode/malformed, config/invalid, version/incompatible about the list; sys/call
 */
export function installConflist(from: string, to: string): "created" | "replaced" | "unchanged" {
  const text = readText(from);
  parseNetworkList(text, from, () => []);
  try {
    const before = existsSync(to) ? readText(to) : undefined;
    if (before === text) return "unchanged";
    mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
    replaceFile(to, text);
    return before === undefined ? "created" : "replaced";
  } catch (e) {
    throw fromSystem(e);
  }
}
