/** `heddle new-plugin`: a project of one's own, which is read more quickly than it is explained. */
import type { Command } from "commander";
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
      "--library <file>",
      "The library as one file, heddle-VERSION.tgz; `npm run build:library` makes it in a checkout of Heddle",
    )
    .action(async (name: string, { library }: Options) => {
      const { writeProject } = await import("./new-plugin/write.ts");
      print(writeProject({ name, library, bun: Bun.version }));
    });
}
