/** `heddle version`: what this executable is and was made from. */
import type { Command } from "commander";
import { commit, version } from "../build-info.ts";
import { versions } from "../cni/version.ts";
import { print } from "./output.ts";

export function addVersionCommand(program: Command): void {
  program
    .command("version")
    .description("Show the version, the commit and the CNI versions")
    .option("--json", "Print JSON")
    .action(({ json }: { readonly json?: boolean }) => {
      const { platform, arch } = process;
      const facts = { version, commit, bun: Bun.version, platform, arch, cniVersions: versions };
      if (json === true) return print(JSON.stringify(facts, undefined, 2));
      print(`heddle ${version} (commit ${commit}, Bun ${Bun.version}, ${platform} ${arch})`);
      print(`CNI ${versions.join(", ")}`);
    });
}
