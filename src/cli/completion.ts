/**
 * `heddle completion SHELL`: a script that completes commands and options, and asks for what is on this host: keys of
 * attachments, networks and namespaces. It is made from the commands themselves, so it cannot fall behind them.
 */
import type { Command } from "commander";
import { NetError } from "../errors.ts";
import { isValueKind, type ValueKind, valueKinds, valuesOf } from "./completion-values.ts";
import { print } from "./output.ts";

/** A command as completion sees it. `path` are the words that lead to it. */
interface Place {
  readonly path: readonly string[];
  readonly words: readonly { readonly word: string; readonly about: string }[];
  /** What its arguments and options take of this host. */
  readonly values: readonly ValueKind[];
}

interface Options {
  readonly values?: string;
}

export function addCompletionCommand(program: Command): void {
  program
    .command("completion")
    .description("Print a completion script for bash, zsh or fish")
    .argument("[shell]", "bash, zsh or fish")
    .option("--values <kind>", `Print what the scripts ask for, a line each: ${valueKinds.join(", ")}`)
    .addHelpText(
      "after",
      "\nbash:  heddle completion bash > /etc/bash_completion.d/heddle\n" +
        "zsh:   heddle completion zsh > ~/.zfunc/_heddle        (a folder of $fpath)\n" +
        "fish:  heddle completion fish > ~/.config/fish/completions/heddle.fish",
    )
    .action(async (shell: string | undefined, { values }: Options) => {
      if (values !== undefined && shell === undefined) return printValues(values);
      const script = scripts[shell ?? ""];
      if (script === undefined || values !== undefined)
        throw new NetError("usage/invalid", {
          why: `no completion for "${shell ?? ""}"; there is ${Object.keys(scripts).join(", ")}`,
        });
      print(script(placesOf(program)));
    });
}

async function printValues(kind: string): Promise<void> {
  if (!isValueKind(kind))
    throw new NetError("usage/invalid", {
      why: `no values of "${kind}"; there are ${valueKinds.join(", ")}`,
    });
  for (const { word, about } of await valuesOf(kind)) print(`${word}\t${about}`);
}

/** The script of one of the shells above for a command line. */
export const completionScript = (shell: string, program: Command): string =>
  scripts[shell]?.(placesOf(program)) ?? "";

function placesOf(
  command: Command,
  path: readonly string[] = [],
  above: Place["words"] = [],
): readonly Place[] {
  const help = command.createHelp();
  const options = help
    .visibleOptions(command)
    .flatMap((o) =>
      [o.short, o.long].filter((w) => w !== undefined).map((word) => ({ word, about: o.description })),
    );
  const inherited = [...above, ...options].filter(
    (o, i, all) => all.findIndex((p) => p.word === o.word) === i,
  );
  const commands = help.visibleCommands(command).map((c) => ({ word: c.name(), about: c.description() }));
  return [
    { path, words: [...commands, ...inherited], values: valuesIn(command) },
    ...command.commands.flatMap((c) => placesOf(c, [...path, c.name()], inherited)),
  ];
}

/** A kind of value is taken where an argument, or what an option takes, has its name. */
function valuesIn(command: Command): readonly ValueKind[] {
  const names = [
    ...command.registeredArguments.map((a) => a.name()),
    ...command.options.map((o) => /[<[](\w+)[\]>]$/.exec(o.flags)?.[1] ?? ""),
  ];
  return valueKinds.filter((kind) => names.includes(kind));
}

/** What asks for the values of a place, in the words of every shell. */
const asking = (values: Place["values"]): string =>
  values.map((kind) => `heddle completion --values ${kind} 2>/dev/null`).join("; ");

/** In single quotes nothing has a meaning in any of the three shells but the quote itself. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const joined = (path: readonly string[]): string => path.map((word) => ` ${word}`).join("");

const bashValues = (values: Place["values"]): string =>
  values.length === 0
    ? ""
    : `
      while IFS=$'\\t' read -r value about; do words="$words $value"; done < <(${asking(values)})`;

const zshValues = (values: Place["values"]): string =>
  values.length === 0
    ? ""
    : `
      found+=("\${(@f)\${"$(${asking(values)})"//$'\\t'/:}}")`;

const scripts: Readonly<Record<string, (places: readonly Place[]) => string>> = {
  bash: (places) => `# bash completion for heddle
_heddle() {
  local at="" i words="" value about
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${places
        .slice(1)
        .map((p) => quoted(joined(p.path)))
        .join("|")}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at" in
${places.map((p) => `    ${quoted(joined(p.path))}) words=${quoted(p.words.map((w) => w.word).join(" "))}${bashValues(p.values)} ;;`).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _heddle heddle`,
  zsh: (places) => `#compdef heddle
_heddle() {
  local at="" i
  local -a found
  for ((i = 2; i < CURRENT; i++)); do
    case "$at \${words[i]}" in
      ${places
        .slice(1)
        .map((p) => quoted(joined(p.path)))
        .join("|")}) at="$at \${words[i]}" ;;
    esac
  done
  case "$at" in
${places.map((p) => `    ${quoted(joined(p.path))}) found=(${p.words.map((w) => quoted(`${w.word}:${w.about}`)).join(" ")})${zshValues(p.values)} ;;`).join("\n")}
  esac
  _describe heddle found || _files
}
compdef _heddle heddle`,
  fish: (places) =>
    [
      "# fish completion for heddle",
      "function __heddle_at",
      "  set -l at ''",
      "  for word in (commandline -opc)[2..-1]",
      '    switch "$at $word"',
      `      case ${places
        .slice(1)
        .map((p) => quoted(joined(p.path)))
        .join(" ")}`,
      '        set at "$at $word"',
      "    end",
      "  end",
      '  test "$at" = "$argv[1]"',
      "end",
      ...places.flatMap((p) => {
        const there = `complete -c heddle -n ${quoted(`__heddle_at ${quoted(joined(p.path)).replaceAll("'", '"')}`)}`;
        return [
          ...p.words.map(({ word, about }) => `${there} -a ${quoted(word)} -d ${quoted(about)}`),
          ...(p.values.length > 0 ? [`${there} -a ${quoted(`(${asking(p.values)})`)}`] : []),
        ];
      }),
    ].join("\n"),
};
