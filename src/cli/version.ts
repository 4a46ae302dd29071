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
      print(versionLine());
      print(`CNI ${versions.join(", ")}`);
    });
}

/** `heddle 0.1.0 (commit 0123456789ab, Bun 1.4.5, linux x64)`. */
export const versionLine = (): string =>
  `heddle ${version} (commit ${commit}, Bun ${Bun.version}, ${process.platform} ${process.arch})`;
