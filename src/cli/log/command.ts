/** `heddle log`: what plugins told the system's journal, of one attachment or of all. */
import type { Command } from "commander";
import { print } from "../output.ts";

interface Options {
  readonly since?: string;
  readonly json?: boolean;
}

export function addLogCommand(program: Command): void {
  program
    .command("log")
    .description("Show failures of plugins and calls over a second, which they tell the system's journal")
    .argument(
      "[key]",
      "A key, as heddle ps prints it, or a container's id, or the beginning of one (default: all)",
    )
    .option("--since <when>", "Only what is newer, as journalctl takes it: '1 hour ago', 2026-01-31")
    .option("--json", "Print JSON")
    .action(async (key: string | undefined, options: Options) => {
      const { readJournal } = await import("./journalctl.ts");
      const { linesOf } = await import("./entry.ts");
      const entries = await readJournal(key, options.since);
      if (options.json === true) return print(JSON.stringify(entries, undefined, 2));
      print(entries.length === 0 ? "Nothing was told." : linesOf(entries));
    });
}
