/** The READMEs of the plugins, and the configurations that they show. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type PluginType, registry } from "../plugins/registry.ts";

export const readmeOf = (type: PluginType): string =>
  readFileSync(join(import.meta.dir, "../plugins", registry[type].kind, type, "README.md"), "utf8");

type Json = Readonly<Record<string, unknown>>;

/** The network lists that the README shows as a whole. */
export const listsIn = (readme: string): readonly Json[] => blocksIn(readme).filter((b) => "plugins" in b);

const blocksIn = (readme: string): readonly Json[] =>
  [...readme.matchAll(/^```json\n(.*?)^```$/gms)].map(([, text = ""]) => JSON.parse(text) as Json);

/** The capability arguments that the README shows; none if it shows none. */
export const capabilitiesIn = (readme: string): Json => {
  const shown = blocksIn(readme).find((block) => "portMappings" in block);
  return shown ?? {};
};

/** An entry of a list that runs the plugin, as its README shows it; an IPAM plugin below a bridge. */
export function exampleOf(type: PluginType): Json {
  const blocks = blocksIn(readmeOf(type));
  const entries = [
    ...blocks,
    ...blocks.flatMap((b) => (Array.isArray(b["plugins"]) ? (b["plugins"] as Json[]) : [])),
  ];
  const found = entries.find((e) => e["type"] === type || (e["ipam"] as Json | undefined)?.["type"] === type);
  if (found === undefined) throw new Error(`the README of ${type} shows no configuration of it`);
  return { type: "bridge", ...found };
}
