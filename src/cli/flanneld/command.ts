/** `heddle flanneld …`: the agent with flanneld's flags and variables. It reads them by itself, since they may have one dash. */
import type { Command } from "commander";

/** The name of the command. */
export const FLANNELD = "flanneld";

export function addFlanneldCommand(program: Command): void {
  program
    .command(FLANNELD)
    .description("Join this host to a Flannel network, with flanneld's flags and variables")
    .argument("[flags...]", "As flanneld takes them; --help lists them")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: readonly string[]) => {
      const { runFlanneld } = await import("./run.ts");
      await runFlanneld(args);
    });
}
