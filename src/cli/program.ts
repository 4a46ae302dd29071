/**
 * The command line as a whole: which commands there are, how a mistyped one is answered, and how a failure becomes
 * text and an exit code. Each command is a file of this folder and adds itself.
 */
import { Command, CommanderError } from "commander";
import { toErrorJson } from "../cni/errors.ts";
import { newestVersion } from "../cni/version.ts";
import { fromSystem, NetError } from "../errors.ts";
import { addAgentCommand } from "./agent/command.ts";
import { addAttachmentCommands } from "./attachments.ts";
import { addCniCommands } from "./cni.ts";
import { addCompletionCommand } from "./completion.ts";
import { addDhcpDaemonCommand, withTwoDashes } from "./dhcp-daemon.ts";
import { addDockerPluginCommand } from "./docker-plugin.ts";
import { addDoctorCommand } from "./doctor.ts";
import { addForwarderCommand } from "./forwarder.ts";
import { addFlanneldCommand } from "./flanneld/command.ts";
import { addInstallCommand } from "./install.ts";
import { addLabCommands } from "./lab/command.ts";
import { addListCommands } from "./lists.ts";
import { addLogCommand } from "./log/command.ts";
import { addNewPluginCommand } from "./new-plugin.ts";
import { complain, printExactly } from "./output.ts";
import { addPluginsCommand } from "./plugins.ts";
import { describeFailure } from "./report.ts";
import { addPsCommand } from "./ps/command.ts";
import { addShowCommand } from "./show/command.ts";
import { addTraceCommand } from "./trace/command.ts";
import { addWatchCommand } from "./watch/command.ts";
import { addVersionCommand, versionLine } from "./version.ts";

/** The names that the command line answers to; a plugin's name never comes here. */
export type ProgramName = "heddle" | "cnitool";

/** All commands of `heddle`, or those of `cnitool`. */
export function makeProgram(name: ProgramName): Command {
  const program = new Command(name)
    .exitOverride()
    .configureOutput({
      writeOut: printExactly,
      writeErr: complain,
      // Reported with every other error, in one form.
      outputError: () => undefined,
    })
    // Wrapped also where a long command leaves little room.
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20 })
    .helpCommand("help [command]", "Show help for a command")
    .helpOption("-h, --help", "Show this help")
    .version(versionLine(), "-V, --version", "Show the version")
    .option("--debug", "On failure, show the whole chain of causes");
  if (name === "cnitool")
    return addCniCommands(program, "cnitool").description("Attach network namespaces to CNI networks");
  program.description("Container networking in one executable: CNI plugins, and a runtime for them");
  const cni = program
    .command("cni")
    .description("Attach network namespaces to networks, as cnitool does; check and pack lists");
  addCniCommands(cni, "heddle");
  addListCommands(cni);
  addPsCommand(program);
  addLogCommand(program);
  addShowCommand(program);
  addTraceCommand(program);
  addWatchCommand(program);
  addAttachmentCommands(program);
  addAgentCommand(program);
  addFlanneldCommand(program);
  addDhcpDaemonCommand(program);
  addDockerPluginCommand(program);
  addDoctorCommand(program);
  addForwarderCommand(program);
  addLabCommands(program);
  addInstallCommand(program);
  addPluginsCommand(program);
  addNewPluginCommand(program);
  addVersionCommand(program);
  addCompletionCommand(program);
  return program;
}

/**
 * Runs a command line and returns the exit code: 0, 1 for a failure, 2 for a command that does not exist or is used
 * wrongly. What `cnitool` does ends with 0 or 1 only, as there.
 */
export async function runCommandLine(name: ProgramName, args: readonly string[]): Promise<number> {
  const program = makeProgram(name);
  try {
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(asMeant(program, withTwoDashes(args)), { from: "user" });
    // A command that did several things and failed at one has said so and set the code.
    return typeof process.exitCode === "number" ? process.exitCode : 0;
  } catch (e) {
    if (e instanceof CommanderError && e.exitCode === 0) return 0; // Help was asked for and printed.
    if (e instanceof CommanderError && e.code === "commander.help") return usageCode(name, args);
    const failure = describeFailure(name, understood(e), {
      debug: args.includes("--debug"),
      command: commandPath(program, args),
    });
    if (args.includes("--json"))
      printExactly(JSON.stringify(toErrorJson(understood(e), newestVersion), undefined, 4));
    else complain(failure.text);
    return failure.exitCode === 2 ? usageCode(name, args) : failure.exitCode;
  }
}

const usageCode = (name: ProgramName, args: readonly string[]): 1 | 2 =>
  name === "cnitool" || args[0] === "cni" ? 1 : 2;

/** The commands that lead to the one that was meant, as far as they exist. */
function commandPath(program: Command, args: readonly string[]): string {
  const [word, ...rest] = args.filter((arg) => !arg.startsWith("-"));
  const next = program.commands.find((c) => c.name() === word);
  return next === undefined ? program.name() : `${program.name()} ${commandPath(next, rest)}`;
}

/** `help cni add` is `cni add --help`: the parser's own `help` looks at one word alone. */
function helpLast(program: Command, args: readonly string[]): readonly string[] {
  const [help, word, ...rest] = args;
  if (help !== "help" || !program.commands.some((c) => c.name() === word)) return args;
  return [...args.slice(1, 2), ...rest, "--help"];
}

/**
 * Help is shown of what there is: the parser would show that of the command above, and succeed. Without the flag it says that
 * there is no such command.
 */
function helpOfSomething(program: Command, args: readonly string[]): readonly string[] {
  let command = program;
  for (const word of args) {
    const next = command.commands.find((c) => c.name() === word);
    const isWrong = next === undefined && command.commands.length > 0 && !/^-|^help$/.test(word);
    if (isWrong) return args.filter((arg) => arg !== "--help" && arg !== "-h");
    if (next === undefined) return args;
    command = next;
  }
  return args;
}

const asMeant = (program: Command, args: readonly string[]): readonly string[] =>
  helpOfSomething(program, helpLast(program, args));

/** The parser's own errors, in our words' form: one line, without its prefix. */
function understood(e: unknown): unknown {
  if (!(e instanceof CommanderError)) return fromSystem(e);
  const why = e.message.replace(/^error: /, "").replaceAll("\n", " ");
  return new NetError("usage/invalid", { why }, { cause: e });
}
