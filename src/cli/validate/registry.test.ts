/** Validation against every plugin of the registry: what it accepts is what the plugin accepts, and nothing is forgotten. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { NetConf } from "../../cni/plugin.ts";
import { NetError } from "../../errors.ts";
import { optionPaths } from "../../plugins/options.ts";
import { type PluginType, pluginTypes, registry } from "../../plugins/registry.ts";
import { exampleOf, listsIn, readmeOf } from "../../testing/plugin-readme.ts";
import { checkFile } from "./network.ts";

type Json = Readonly<Record<string, unknown>>;

const check = async (
  file: string,
  text: string,
): Promise<readonly { readonly severity: string; readonly message: string }[]> => {
  const checked = await checkFile(
    { file, text },
    { pluginPath: [], beside: () => [], device: () => undefined, uplink: () => undefined },
  );
  return checked.flatMap((c) => c.findings);
};
const checkEntry = (entry: Json): ReturnType<typeof check> =>
  check("x.conf", JSON.stringify({ cniVersion: "1.1.0", name: "net", ...entry }));

const JUNK = [true, false, 0, -1, 1.5, 70_000, "", "x", "10.0.0.0/24", [], [1], ["x"], {}, null];

describe.each(pluginTypes.map((type) => [type] as const))("%s", (type) => {
  test("is shown in its README with a list in which nothing is found", async () => {
    for (const list of listsIn(readmeOf(type)))
      expect(await check("x.conflist", JSON.stringify(list))).toEqual([]);
  });

  test("accepts in its example, value by value, what validation accepts", async () => {
    const { options, parse } = await registry[type].load();
    for (const path of topOptions(type, optionPaths(options)))
      for (const junk of JUNK) {
        const entry = withOption(exampleOf(type), path, junk);
        const raw = { cniVersion: "1.1.0", name: "net", ...entry };
        const conf: NetConf = { cniVersion: "1.1.0", name: "net", type, raw };
        const errors = (await checkEntry(entry)).filter((f) => f.severity === "error");
        const refused = complaintOf(() => parse(conf));
        if ((refused === undefined) !== (errors.length === 0))
          throw new Error(
            `${path} = ${JSON.stringify(junk)}: parse says ${refused ?? "nothing"}, validation ${JSON.stringify(errors)}`,
          );
      }
  });

  test("has no option that is not known, and the near one is suggested", async () => {
    const { options } = await registry[type].load();
    for (const path of topOptions(type, optionPaths(options))) {
      const found = await checkEntry(withOption(exampleOf(type), `${path}zz`, 1));
      expect(found.map((f) => f.message)).toContainEqual(
        expect.stringMatching(new RegExp(`has no option "${path.replace(/^ipam\./, "")}zz"`)),
      );
    }
  });
});

/** The options at the first level: of an IPAM plugin, those in `ipam`. */
const topOptions = (type: PluginType, paths: readonly string[]): readonly string[] =>
  registry[type].kind === "ipam"
    ? paths.filter((p) => /^ipam\.\w+$/.test(p))
    : paths.filter(
        (p) => /^\w+$/.test(p) && !["args", "runtimeConfig", "type", "plugins", "capabilities"].includes(p),
      );

function withOption(entry: Json, path: string, value: unknown): Json {
  const [first = "", ...rest] = path.split(".");
  if (rest.length === 0) return { ...entry, [first]: value };
  return { ...entry, [first]: withOption(entry[first] as Json, rest.join("."), value) };
}

function complaintOf(parse: () => unknown): string | undefined {
  try {
    parse();
    return undefined;
  } catch (e) {
    if (e instanceof NetError) return e.message;
    throw e;
  }
}

describe("examples", () => {
  const dir = join(import.meta.dir, "../../../examples");
  test.each(readdirSync(dir).filter((f) => /\.(?:conflist|conf)$/.test(f)))(
    "nothing is found in %s",
    async (file) => {
      expect(await check(file, readFileSync(join(dir, file), "utf8"))).toEqual([]);
    },
  );
});
