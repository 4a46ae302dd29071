import { describe, expect, test } from "bun:test";
import type { Command } from "commander";
import { makeProgram } from "./program.ts";

const below = (command: Command): readonly Command[] => [command, ...command.commands.flatMap(below)];

/** What is printed where there is no terminal to ask for its width. */
const WIDTH = 80;

describe("help", () => {
  test.each(["heddle", "cnitool"] as const)("of every command of %s fits into 80 columns", (name) => {
    const wide = below(makeProgram(name)).flatMap((command) =>
      command
        .configureHelp({ ...command.configureHelp(), helpWidth: WIDTH })
        .helpInformation()
        .split("\n")
        .filter((line) => line.length > WIDTH),
    );
    expect(wide).toEqual([]);
  });
});

describe("a word too many", () => {
  const refusalOf = (...words: readonly string[]): Promise<string> =>
    makeProgram("heddle")
      .parseAsync(words, { from: "user" })
      .then(
        () => "",
        (e: unknown) => (e as Error).message,
      );

  test("behind heddle agent is refused with the words that there are", async () => {
    expect(await refusalOf("agent", "nope")).toBe(
      'heddle agent has no command "nope"; there are status, nodes, routes, events, drain',
    );
  });

  test("behind one of its questions is refused", async () => {
    expect(await refusalOf("agent", "status", "nope")).toContain("too many arguments for 'status'");
  });
});
