/**
 * `heddle cni VERB NETWORK NETNS`, and the same verbs as `cnitool`: the runtime for scripts and for people. Takes the
 * arguments and variables of cnitool and ends with its codes.
 */
import type { Command } from "commander";
import type { ProgramName } from "./program.ts";

export const verbs = {
  add: "Attach a network namespace to a network and print the result",
  check: "Check that an attachment is as ADD left it",
  del: "Detach a network namespace from a network",
  gc: "Detach everything of a network that this program attached",
  status: "Ask whether a network (of CNI 1.1.0) can take attachments now",
} as const;
export type CniVerb = keyof typeof verbs;

export interface CniOptions {
  readonly ifname?: string;
  readonly inProcess: boolean;
  readonly cacheDir?: string;
}

const environment = `
Environment:
  CNI_PATH      directories of plugins, with colons between
  NETCONFPATH   directory of network configurations (default /etc/cni/net.d)
  CAP_ARGS      capability arguments, a JSON object
  CNI_ARGS      arguments for plugins, KEY=VALUE;KEY=VALUE
  CNI_IFNAME    interface name in the namespace (default eth0)

A plugin found in CNI_PATH that is a link to this executable runs inside this process.`;

/** Adds the verbs to `heddle cni` or to `cnitool` itself. */
export function addCniCommands(parent: Command, name: ProgramName): Command {
  parent.addHelpText("afterAll", environment);
  for (const verb of Object.keys(verbs) as CniVerb[]) {
    // `gc` and `status` are about the network; cnitool wants a namespace all the same.
    const netnsNeeded = name === "cnitool" || verb === "add" || verb === "check" || verb === "del";
    parent
      .command(verb)
      .description(verbs[verb])
      .argument("<network>", "The network's name in its configuration")
      .argument(
        netnsNeeded ? "<netns>" : "[netns]",
        "Path of the network namespace, for example /run/netns/blue",
      )
      // cnitool ignores what follows.
      .allowExcessArguments(name === "cnitool")
      .option("-i, --ifname <name>", "Interface name in the namespace (default: CNI_IFNAME or eth0)")
      .option("--no-in-process", "Run every plugin as a process of its own")
      .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
      .option("--json", "On failure, print the error object of the CNI specification on standard output")
      .action(async (network: string, netns: string | undefined, options: CniOptions) => {
        const { runCniVerb } = await import("./cni-run.ts");
        await runCniVerb(verb, network, netns ?? "", options);
      });
  }
  return parent;
}
