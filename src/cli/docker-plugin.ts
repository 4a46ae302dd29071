/** `heddle docker-plugin`: networks and addresses for Docker, as a driver of the name `heddle`. */
import type { Command } from "commander";

/** The options as they come from the command line. */
export interface DockerPluginOptions {
  readonly socket: string;
  readonly spec?: string;
}

export function addDockerPluginCommand(program: Command): void {
  program
    .command("docker-plugin")
    .description("Serve Docker as a driver of networks and addresses")
    .option("--socket <file>", "The socket that Docker speaks to", "/run/docker/plugins/heddle.sock")
    .option("--spec <file>", "Write the socket's address there, where Docker looks for it if it is elsewhere")
    .action(async (options: DockerPluginOptions) => {
      const { runDockerPlugin } = await import("./docker-plugin-run.ts");
      await runDockerPlugin(options);
    });
}
