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
