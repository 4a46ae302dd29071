import { describe, expect, test } from "bun:test";
import { list, object, refined, required, text } from "../cni/json.ts";
import { readmeOf } from "../testing/plugin-readme.ts";
import { optionPaths } from "./options.ts";
import { pluginTypes, registry } from "./registry.ts";

describe("optionPaths", () => {
  test("goes into objects and lists, through what is required and what is looked at once more", () => {
    const item = refined(object({ a: text }), (o) => o.a);
    const decode = object({ plain: text, inside: required(list(list(item))) });
    expect(optionPaths([decode, object({ plain: text, other: text })])).toEqual([
      "plain",
      "inside",
      "inside[][].a",
      "other",
    ]);
  });
});

/**
 * Keys that the runtime sets or another page explains: those of every plugin, and DNS settings, which are the
 * specification's own.
 */
const explainedElsewhere = /^(?:type|args|runtimeConfig|ipam\.type)$|^args\.cni$|(?:^|\.)dns\./;

/** The names in the first column of each table whose first heading is "Key …" or "Option …". */
function tabled(readme: string): readonly string[] {
  const names: string[] = [];
  let inTable = false;
  for (const line of readme.split("\n")) {
    const [, first = ""] = line.split("|").map((cell) => cell.trim());
    if (!line.startsWith("|")) inTable = false;
    else if (/^(?:key|option)/i.test(first)) inTable = true;
    else if (inTable) names.push(...[...first.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name));
  }
  return names;
}

const lastKey = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

describe.each(pluginTypes.map((type) => [type]))("the README of %s", (type) => {
  test("has every option in a table, and those inside of others in its text", async () => {
    const { kind } = registry[type];
    const { options } = await registry[type].load();
    const readme = readmeOf(type);
    const inTables = tabled(readme).map(lastKey);
    const named = (path: string): boolean => new RegExp(`["\`.]${lastKey(path)}["\`]`).test(readme);
    const missing = optionPaths(options)
      .filter((path) => !explainedElsewhere.test(path) && !(path === "ipam" && kind === "ipam"))
      .filter((path) => !(/^(?:ipam\.)?\w+$/.test(path) ? inTables.includes(lastKey(path)) : named(path)));
    expect(missing).toEqual([]);
  });

  test("has no option that the plugin does not know", async () => {
    const { options } = await registry[type].load();
    const known = new Set(optionPaths(options).map(lastKey));
    expect(tabled(readmeOf(type)).filter((name) => !known.has(lastKey(name)))).toEqual([]);
  });
});
