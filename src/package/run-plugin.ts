/** A plugin of the library's users as a program. */
import { runAsExecutable } from "../cni/executable.ts";
import { emptyHost } from "../cni/host.ts";
import type { Plugin } from "../cni/plugin.ts";
import { enterAgain } from "../sys/netns.ts";

/**
 * Runs the plugin as this process: reads the call from the environment and standard input, prints the result or the
 * error object of the specification, and sets the exit code. The last thing that a program does; other plugins, such as
 * IPAM, are executed from `CNI_PATH`.
 */
export async function runPlugin<Config>(plugin: Plugin<Config>): Promise<void> {
  enterAgain();
  await runAsExecutable(plugin, emptyHost);
}
