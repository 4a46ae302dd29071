import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { anchorOf, manualOf } from "./hints.ts";
import { table } from "./output.ts";
import { describeFailure } from "./report.ts";

const taken = new NetError(
  "port/taken",
  { port: "tcp 9090", owner: "web" },
  { cause: new Error("the map said so") },
);

describe("describeFailure", () => {
  test("says what happened, what to do, and where to read more", () => {
    const { exitCode, text } = describeFailure("heddle", taken, { debug: false });
    expect(exitCode).toBe(1);
    expect(text.split("\n")).toEqual([
      "heddle: host port tcp 9090 is taken by web",
      "  hint: choose another host port, or detach its owner",
      "  more: docs/errors.md#porttaken",
    ]);
  });

  test("of several failures says every sentence and the hint of the first", () => {
    const several = new AggregateError([new Error("odd"), taken, new NetError("try-again", { why: "busy" })]);
    const { text } = describeFailure("heddle", several, { debug: false });
    expect(text).toStartWith("heddle: odd; host port tcp 9090 is taken by web; busy\n");
    expect(text).toContain("#porttaken");
  });

  test("an error that knows itself what can be done says that", () => {
    const why = "no agent listens on /run/x.sock";
    const error = new NetError("status/unavailable", { why, next: "start one" });
    expect(describeFailure("heddle", error, { debug: false }).text).toContain("\n  hint: start one\n");
  });

  test("a call that failed says what its errno means, where that tells more than its code", () => {
    const failed = (errno: string) =>
      describeFailure("heddle", new NetError("sys/call", { call: "bind", on: "udp port 8285", errno }), {
        debug: false,
      }).text;
    expect(failed("EADDRINUSE")).toContain("hint: another program has this address and port");
    expect(failed("EIO")).toContain("hint: the operating system refused");
  });

  test("an error that nobody expected asks for a report", () => {
    const { exitCode, text } = describeFailure("heddle", new TypeError("undefined is not a function"), {
      debug: false,
    });
    expect(exitCode).toBe(1);
    expect(text).toContain("--debug");
    expect(text).not.toContain("    at ");
  });

  test("a wrong command line ends with 2", () => {
    expect(
      describeFailure("heddle", new NetError("usage/invalid", { why: "no" }), { debug: false }).exitCode,
    ).toBe(2);
  });

  test("a wrong command line names the help of the command that was meant", () => {
    const wrong = new NetError("usage/invalid", { why: "no" });
    expect(describeFailure("heddle", wrong, { debug: false, command: "heddle cni add" }).text).toEndWith(
      "hint: see heddle cni add --help",
    );
  });

  test("a plugin of ours that failed gives the hint of its own code; another plugin that of a failed plugin", () => {
    const failed = (details: string): string =>
      describeFailure(
        "heddle",
        new NetError("plugin/failed", { type: "bridge", command: "add", code: 8, msg: "no", details }),
        { debug: false },
      ).text;
    expect(failed('netns/invalid {"path":"/x"}')).toEndWith("docs/errors.md#netnsinvalid");
    expect(failed("something else happened")).toEndWith("docs/errors.md#pluginfailed");
  });

  test("--debug shows the chain of causes, and ends where the chain goes in a circle", () => {
    expect(describeFailure("heddle", taken, { debug: true }).text).toContain("Error: the map said so");
    const circle = new Error("round");
    circle.cause = circle;
    expect(describeFailure("heddle", circle, { debug: true }).text.match(/Error: round/g)).toHaveLength(9);
  });
});

test("the anchor of a code is the one that its heading gets", () => {
  expect(manualOf("prev-result/invalid")).toBe("docs/errors.md#prev-resultinvalid");
  expect(anchorOf("Kernel and host")).toBe("kernel-and-host");
});

test("a table pads every column but the last", () => {
  expect(
    table([
      ["A", "BB", "C"],
      ["long", "x", "y"],
    ]),
  ).toBe("A     BB  C\nlong  x   y");
});
