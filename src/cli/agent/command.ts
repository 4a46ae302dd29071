/** `heddle agent`: joins this host to a fabric; and what the agent that did so is asked. */
import type { Command } from "commander";
import { type Ask, asks } from "../../agent/api.ts";
import { DEFAULT_SOCKET } from "../../agent/settings.ts";
import { NetError } from "../../errors.ts";

/** The options of every question, as they come from the command line. */
export interface AskOptions {
  readonly socket: string;
  readonly json?: boolean;
  readonly follow?: boolean;
}

const about: { readonly [A in Ask]: string } = {
  status: "Show whether this host can take containers, and its place in the fabric",
  nodes: "List the nodes in the store, and what is wrong with those that are left out",
  routes: "List the routes to the other nodes",
  events: "Tell what has happened, and with --follow what happens",
  drain: "Leave the fabric: give the subnet back and take everything out of the kernel",
};

export function addAgentCommand(program: Command): void {
  const agent = program
    .command("agent")
    .description("Join this host to a network of hosts, and ask the agent that does")
    // A word that is no command of it is refused below, by name.
    .allowExcessArguments()
    .option("--config <file>", "Run an agent with this configuration, until it is told to end")
    .addHelpText(
      "after",
      "\nSIGTERM ends it and leaves the network as it is: the next one takes it over. docs/agent.md has every key.",
    )
    .action(async ({ config }: { readonly config?: string }, command: Command) => {
      const [word] = command.args;
      if (word !== undefined)
        throw new NetError("usage/invalid", {
          why: `heddle agent has no command "${word}"; there are ${asks.join(", ")}`,
        });
      if (config === undefined)
        throw new NetError("usage/invalid", { why: `give --config FILE, or one of ${asks.join(", ")}` });
      const { runWithConfig } = await import("./run.ts");
      await runWithConfig(config);
    });
  for (const ask of asks) {
    const command = agent
      .command(ask)
      .description(about[ask])
      .allowExcessArguments(false)
      .option("--socket <file>", "Where the agent listens", DEFAULT_SOCKET)
      .option("--json", ask === "events" ? "Print a JSON object a line" : "Print JSON");
    if (ask === "events") command.option("-f, --follow", "Go on until interrupted");
    command.action(async (options: AskOptions) => {
      const { askAndPrint } = await import("./ask.ts");
      await askAndPrint(ask, options);
    });
  }
}
