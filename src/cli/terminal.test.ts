import { describe, expect, test } from "bun:test";
import { coloured, printable, progress } from "./terminal.ts";

describe("progress", () => {
  const told = (isTerminal: boolean, times: readonly number[]): readonly string[] => {
    const written: string[] = [];
    let clock = 0;
    const telling = progress("looking at", {
      isTerminal,
      now: () => clock,
      write: (text) => written.push(text),
    });
    for (const [i, time] of times.entries()) {
      clock = time;
      telling.at(i, times.length);
    }
    telling.done();
    return written;
  };

  test("is told after a second, ten times in one, and taken away", () => {
    expect(told(true, [0, 999, 1000, 1050, 1100])).toEqual([
      "\rlooking at 2 of 5\u001b[K",
      "\rlooking at 4 of 5\u001b[K",
      "\r\u001b[K",
    ]);
  });

  test("is not told of what is done sooner, nor where no terminal is", () => {
    expect(told(true, [0, 500, 900])).toEqual([]);
    expect(told(false, [0, 5000])).toEqual([]);
  });
});

test("text is coloured where colours are, and ends so", () => {
  expect(coloured({ colours: true }, "red", "broken")).toBe("\u001b[31mbroken\u001b[0m");
  expect(coloured({ colours: false }, "red", "broken")).toBe("broken");
});

test("what a terminal would obey is not printed", () => {
  expect(printable("a\u001b[2Jb\nc\u009bd\u007f é → │")).toBe("a?[2Jb?c?d? é → │");
});
