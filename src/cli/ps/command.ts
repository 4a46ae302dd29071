import type { Command } from "commander";
import { print } from "../output.ts";

/** `heddle ps`: what is attached on this host, and how it is. */
interface Options {
  readonly json?: boolean;
  readonly cacheDir?: string;
  readonly network?: string;
  readonly container?: string;
}

export function addPsCommand(program: Command): void {
  program
    .command("ps")
    .description("List what is attached on this host, and whether the kernel still has it as it was made")
    .option("--network <name>", "Only attachments to this network")
    .option("--container <id>", "Only attachments of containers whose id begins so")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .option("--json", "Print JSON")
    .action(async (options: Options) => ps(options));
}

async function ps({ json, ...asked }: Options): Promise<void> {
  const { gatherEntries } = await import("./gather.ts");
  const { progress, terminal } = await import("../terminal.ts");
  const telling = progress("looking at attachment");
  const entries = await gatherEntries(asked, telling.at).finally(telling.done);
  if (json === true) return print(JSON.stringify(entries, undefined, 2));
  if (entries.length === 0) return print("Nothing is attached.");
  const { psTable } = await import("./table.ts");
  print(psTable(entries, terminal(), Date.now()));
}
