/**
 * Where the executable begins: it is what it was called as. A plugin's name makes it that plugin, `cnitool` the
 * runtime for scripts, everything else the command line. Each is loaded alone.
 */
import { isPluginType, pluginHost, registry } from "./plugins/registry.ts";
import { isNetavarkWord } from "./netavark/words.ts";

/** The last part of the name that this process was started by, without Windows' ending. */
const calledAs = (argv0: string): string =>
  argv0.slice(Math.max(argv0.lastIndexOf("/"), argv0.lastIndexOf("\\")) + 1).replace(/\.exe$/i, "");

const [, , word, ...rest] = process.argv;
/** A small file that names this program as its interpreter is a plugin by its own name (`#!/opt/cni/bin/heddle as-plugin`). */
const interprets = word === "as-plugin" ? rest[0] : undefined;
const name = calledAs(interprets ?? process.argv0);
if (!Bun.isMainThread) {
  // A thread of the forwarder: the one command that has any.
  const { serveAsWorker } = await import("./forwarder/worker.ts");
  serveAsWorker();
} else if (name === "dhcp" && word === "daemon") {
  // As the reference's daemon is started.
  const { runCommandLine } = await import("./cli/program.ts");
  process.exitCode = await runCommandLine("heddle", ["dhcp-daemon", ...rest]);
} else if (name === "flanneld") {
  // In the place of the original, by a link.
  const { runCommandLine } = await import("./cli/program.ts");
  process.exitCode = await runCommandLine("heddle", ["flanneld", ...process.argv.slice(2)]);
} else if (isPluginType(name)) {
  const [{ runAsExecutable }, plugin] = await Promise.all([
    import("./cni/executable.ts"),
    registry[name].load(),
  ]);
  await runAsExecutable(plugin, pluginHost(true));
} else if (word === "dhcp-exchange") {
  // What the DHCP daemon starts for one exchange in a namespace: at once, before anything starts a thread.
  const { runChild } = await import("./dhcp/child.ts");
  runChild();
} else if (word === "docker-task") {
  // What the Docker plugin starts for one change of the kernel.
  const { runChild } = await import("./docker/child.ts");
  await runChild();
} else if (word === "agent-firewall") {
  // What the agent starts for each look at its firewall that may have to wait for somebody.
  const { runFirewallChild } = await import("./agent/firewall-child.ts");
  await runFirewallChild();
} else if (word !== undefined && /^lab-(?:enter|make|netns|prepare)$/.test(word)) {
  // What a lab starts in its hosts: at once, before anything starts a thread.
  const { runLabWord } = await import("./lab/words.ts");
  process.exitCode = await runLabWord(word, rest);
} else if (name !== "cnitool" && isNetavarkWord(word)) {
  // As Podman calls a plugin of netavark; the name of the file is the driver's name.
  const { runNetavarkPlugin } = await import("./netavark/run.ts");
  await runNetavarkPlugin(word, rest[0]);
} else {
  const { runCommandLine } = await import("./cli/program.ts");
  process.exitCode = await runCommandLine(name === "cnitool" ? "cnitool" : "heddle", process.argv.slice(2));
}
