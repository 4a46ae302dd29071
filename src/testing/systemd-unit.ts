/** Units for systemd, read: so that tests compare what ships with what the program does. */
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";

/** Sections, each key with its values in order. */
type Unit = ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;

/** A unit that ships. */
export const unit = (name: string): Unit =>
  unitOf(name, readFileSync(inProject("packaging/systemd", name), "utf8"));

/** A unit's text; `name` is for what is said of it. */
export function unitOf(name: string, text: string): Unit {
  const sections = new Map<string, Map<string, string[]>>();
  let section: Map<string, string[]> | undefined;
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const head = /^\[(\w+)\]$/.exec(line)?.[1];
    if (head !== undefined) sections.set(head, (section = new Map()));
    else {
      const at = line.indexOf("=");
      const key = line.slice(0, at);
      if (at < 1 || section === undefined) throw new Error(`${name}: "${line}"`);
      section.set(key, [...(section.get(key) ?? []), line.slice(at + 1)]);
    }
  }
  return sections;
}
