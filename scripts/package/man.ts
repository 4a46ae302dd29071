/** The manual page heddle(1), made of the commands themselves, so that it cannot fall behind them. */
import type { Command } from "commander";
import { makeProgram } from "../../src/cli/program.ts";

/** Text as roff(7) reads it: no line begins a request, and a hyphen is the character that people type. */
const escaped = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll(/^([.'])/gm, "\\&$1");

function commandLines(command: Command, path: string): readonly string[] {
  const usage = `${path} ${command.usage()}`.trim();
  const options = command.options
    .filter((option) => !option.hidden)
    .flatMap(({ flags, description }) => [".TP", `.B ${escaped(flags)}`, escaped(description)]);
  const args = command.registeredArguments.flatMap((argument) => [
    ".TP",
    `.I ${escaped(argument.name())}`,
    escaped(argument.description),
  ]);
  const below = command.commands.flatMap((inner) => commandLines(inner, `${path} ${inner.name()}`));
  const own = [`.SS ${escaped(usage)}`, escaped(command.description()), ...args, ...options];
  return command.commands.length > 0 && args.length === 0 && options.length === 0
    ? below
    : [...own, ...below];
}

/** The page as roff, dated by nothing, so that the same sources give the same page. */
export function manualPage(version: string): string {
  const program = makeProgram("heddle");
  return [
    `.TH HEDDLE 1 "" "Heddle ${version}" "Container networking"`,
    ".SH NAME",
    `heddle \\- ${escaped(program.description())}`,
    ".SH SYNOPSIS",
    ".B heddle",
    "[options] [command]",
    ".SH DESCRIPTION",
    "The name that the program is called by decides what it is: called as a plugin, for example",
    ".BR bridge ,",
    "it is that CNI plugin; called",
    ".BR cnitool ,",
    "it is the runtime for scripts; else the commands below.",
    ".SH COMMANDS",
    ...program.commands.flatMap((command) => commandLines(command, `heddle ${command.name()}`)),
    ".SH FILES",
    ...[".TP", ".I /etc/cni/net.d", "Configurations of networks."],
    ...[".TP", ".I /opt/cni/bin", "The executable, and a link to it for each plugin."],
    ...[".TP", ".I /run/heddle", "Records of attachments, and locks."],
    ...[".TP", ".I /var/lib/cni", "Addresses that are taken, and results of attachments."],
    ".SH EXIT STATUS",
    "0, or 1 for a failure, or 2 for a command line that cannot be understood.",
    "",
  ].join("\n");
}
