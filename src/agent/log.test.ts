import { describe, expect, test } from "bun:test";
import { formatLine, type LogLine, makeLog, REPEATS, WINDOW_MS } from "./log.ts";

const line: LogLine = { level: "warning", code: "node-refused", text: "its subnet overlaps", node: "host2" };
const at = Date.parse("2026-11-22T12:00:00Z");

describe("a line of the log", () => {
  test("is text with the node in brackets", () => {
    expect(formatLine(line, at, "text")).toBe(
      "2026-11-22T12:00:00.000Z warning node-refused [host2] its subnet overlaps",
    );
  });

  test("is one object of JSON", () => {
    expect(JSON.parse(formatLine(line, at, "json"))).toEqual({
      time: "2026-11-22T12:00:00.000Z",
      level: "warning",
      code: "node-refused",
      node: "host2",
      message: "its subnet overlaps",
    });
  });

  test.each(["text", "json"] as const)("is one line as %s, whatever others call themselves", (format) => {
    const hostile = formatLine({ ...line, node: "a\nb\u001b[31m", text: "x\r\ny" }, at, format);
    expect(hostile).not.toMatch(/\p{Cc}/u);
  });
});

describe("makeLog", () => {
  const log = (least: LogLine["level"] = "info") => {
    const clock = { now: at };
    const written: string[] = [];
    const made = makeLog({ format: "text", least, now: () => clock.now, write: (l) => written.push(l) });
    return { ...made, clock, written };
  };

  test("writes a line that repeats a few times, and then how often it came", () => {
    const { line: put, flush, clock, written } = log();
    for (let i = 0; i < 50; i++) put(line);
    expect(written).toHaveLength(REPEATS);
    clock.now += WINDOW_MS;
    flush();
    expect(written.at(-1)).toContain(`(${50 - REPEATS} more within a minute)`);
    put(line);
    expect(written).toHaveLength(REPEATS + 2);
  });

  test("tells lines about different nodes apart", () => {
    const { line: put, written } = log();
    for (let i = 0; i < 10; i++) put({ ...line, node: `host${i}` });
    expect(written).toHaveLength(10);
  });

  test("leaves out what is less than was asked for", () => {
    const { line: put, written } = log("error");
    put(line);
    put({ ...line, level: "error" });
    expect(written).toHaveLength(1);
  });

  test("remembers no more than a thousand lines", () => {
    const { line: put, written } = log();
    for (let i = 0; i < 5_000; i++) put({ ...line, text: `${i}` });
    expect(written).toHaveLength(5_000);
  });
});
