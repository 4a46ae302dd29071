import { describe, expect, test } from "bun:test";
import { makeScreen, wantsColour } from "./screen.ts";

describe("the demo's screen", () => {
  test("colours on a terminal alone, and never with NO_COLOR", () => {
    expect(wantsColour(true, {})).toBe(true);
    expect(wantsColour(false, {})).toBe(false);
    expect(wantsColour(true, { NO_COLOR: "1" })).toBe(false);
    expect(wantsColour(true, { NO_COLOR: "" })).toBe(true);
    expect(wantsColour(true, { TERM: "dumb" })).toBe(false);
  });

  test("prints a step's title before its work and its time after", async () => {
    const written: string[] = [];
    const screen = makeScreen((text) => void written.push(text), false);
    const value = await screen.step("a step", () => {
      expect(written.join("")).toMatch(/^ {2}a step +$/);
      return 7;
    });
    expect(value).toBe(7);
    expect(written.join("")).toMatch(/^ {2}a step +\d+\.\d ms\n$/);
  });

  test("prints the time of a step that fails, and passes the failure on", async () => {
    const written: string[] = [];
    const screen = makeScreen((text) => void written.push(text), true);
    const failure = await screen
      .step("a step", () => Promise.reject(new Error("no")))
      .catch((e: unknown) => e);
    expect(failure).toEqual(new Error("no"));
    expect(written.join("")).toContain("\u001B[31m");
  });
});
