/** `heddle plugins`: which plugins this executable is. */
import type { Command } from "commander";
import { versions as allVersions } from "../cni/version.ts";
import { pluginTypes, registry } from "../plugins/registry.ts";
import { print, table } from "./output.ts";

export function addPluginsCommand(program: Command): void {
  program
    .command("plugins")
    .description("List the plugins in this executable")
    .option("--json", "Print JSON")
    .action(async ({ json }: { readonly json?: boolean }) => {
      const list = await Promise.all(
        pluginTypes.map(async (type) => {
          const { about, versions = allVersions } = await registry[type].load();
          return { type, kind: registry[type].kind, versions, about };
        }),
      );
      if (json === true) return print(JSON.stringify(list, undefined, 2));
      const rows = list.map((p) => [p.type, p.kind, `${p.versions[0]} - ${p.versions.at(-1)}`, p.about]);
      print(table([["TYPE", "KIND", "CNI VERSIONS", "ABOUT"], ...rows]));
    });
}
