/** `heddle new-plugin`: a project of one's own, which is read more quickly than it is explained. */
import type { Command } from "commander";
import { version } from "../build-info.ts";
import { print } from "./output.ts";

interface Options {
  readonly library?: string;
}

export function addNewPluginCommand(program: Command): void {
  program
    .command("new-plugin")
    .description("Write a project with a plugin of thirty lines, its test and its build")
    .argument("<name>", "The plugin's name, which is also that of the folder; small letters, digits and -")
    .option(
      "--library <where>",
      "Where the library comes from: a version, or file: and a path (default: this version)",
    )
    .action(async (name: string, { library }: Options) => {
      const { writeProject } = await import("./new-plugin/write.ts");
      print(writeProject({ name, library: library ?? `^${version}`, bun: Bun.version }));
    });
}
