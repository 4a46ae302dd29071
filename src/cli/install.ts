/** `heddle install`: puts this executable and a link for every plugin where container runtimes look for plugins. */
import type { Command } from "commander";
import { NetError } from "../errors.ts";
import { isCompiled } from "../build-info.ts";
import { placesFor } from "./install-places.ts";
import { print } from "./output.ts";

interface Options {
  readonly cniBinDir: string;
  readonly force?: boolean;
  readonly conflist?: string;
  readonly conflistTo?: string;
}

export function addInstallCommand(program: Command): void {
  program
    .command("install")
    .description("Place this executable and a link for every plugin where container runtimes look for them")
    .option("--cni-bin-dir <dir>", "The directory of the CNI plugins", "/opt/cni/bin")
    .option("--force", "Replace files of those names that are not Heddle's")
    .option("--conflist <file>", "Also place this network's configuration, a list of plugins")
    .option("--conflist-to <path>", "Where; /etc/cni/net.d/NAME.conflist")
    .addHelpText(
      "after",
      "\nOne file, `heddle`, is copied; each plugin is a relative link to it, and flannel, in /opt/cni/bin, a small\n" +
        "file that starts it. Every step is one rename, so that a container that starts meanwhile finds the old\n" +
        "plugin or the new one. Doing it twice changes nothing.\n" +
        "To have cnitool too: ln -s /opt/cni/bin/heddle /usr/local/bin/cnitool",
    )
    .action(async ({ cniBinDir, force, conflist, conflistTo }: Options) => {
      if (process.platform !== "linux")
        throw new NetError("feature/missing", { feature: "heddle install", needs: "Linux" });
      if (!isCompiled)
        throw new NetError("usage/invalid", {
          why: "this runs from sources; build the executable first and run that",
        });
      if (conflistTo !== undefined && conflist === undefined)
        throw new NetError("usage/invalid", { why: "--conflist-to says where; --conflist has to say what" });
      const { install } = await import("./install-files.ts");
      const done = install({
        source: "/proc/self/exe",
        dir: cniBinDir,
        ...placesFor(cniBinDir),
        force: force === true,
      });
      for (const { name, what } of done) print(`${what.padEnd(9)}  ${name}`);
      if (conflist === undefined) return;
      // Last: a runtime that sees the network has its plugins.
      const { conflistPath, installConflist } = await import("./install-conflist.ts");
      const to = conflistTo ?? conflistPath(conflist);
      print(`${installConflist(conflist, to).padEnd(9)}  ${to}`);
    });
}
