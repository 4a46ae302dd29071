/** `heddle cni validate` and `heddle cni pack`: what is done with configurations themselves, without any kernel. */
import type { Command } from "commander";

export function addListCommands(cni: Command): void {
  cni
    .command("validate")
    .description("Check configurations against every plugin's options, without touching the kernel")
    .argument("<files...>", "Files that end in .conflist, .conf or .json, or directories of them")
    .option("--json", "Print the findings as JSON")
    .addHelpText(
      "after",
      "\nA finding is an error or a warning, with the line and column that it is about. The exit code is 1 if there is\n" +
        "an error. Plugins that are not in this executable are looked for in CNI_PATH; their options are not checked.",
    )
    .action(async (files: readonly string[], { json }: { readonly json?: boolean }) => {
      const { validateFiles } = await import("./validate/run.ts");
      await validateFiles(files, json === true);
    });
  cni
    .command("pack")
    .description("Print a list whose plugins run in one process, as one heddle-chain entry")
    .argument("<list>", "A file, or the name of a network in NETCONFPATH")
    .option("-o, --output <file>", "Write to this file instead")
    .action(async (list: string, { output }: { readonly output?: string }) => {
      const { packNetwork } = await import("./pack.ts");
      packNetwork(list, output);
    });
}
