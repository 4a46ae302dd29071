import type { Command } from "commander";

/** `heddle watch`: attachments as they come, go and change, one line each. */
interface Options {
  readonly json?: boolean;
  readonly cacheDir?: string;
  readonly network?: string;
  readonly container?: string;
}

export function addWatchCommand(program: Command): void {
  program
    .command("watch")
    .description("Tell which attachments come, go and change, until interrupted")
    .option("--network <name>", "Only attachments to this network")
    .option("--container <id>", "Only attachments of containers whose id begins so")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .option("--json", "Print a JSON object a line")
    .action(async ({ json, ...asked }: Options) => {
      const { watchAttachments } = await import("./run.ts");
      await watchAttachments({ ...asked, json: json === true });
    });
}
