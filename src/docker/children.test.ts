/** What becomes of a child that does not do as it should. */
import { describe, expect, test } from "bun:test";
import { tempDir } from "../testing/temp-dir.ts";
import { CHILDREN, taskRunner } from "./children.ts";
import { readTask, type Task } from "./task.ts";

const task: Task = { kind: "remove", what: [] };
const child = (script: string) => taskRunner([process.execPath, "-e", script], {});
const why = async (script: string): Promise<string> => {
  const answer = await child(script)(task);
  return answer.kind === "failed" ? answer.why : answer.kind;
};

describe("a child", () => {
  test("is told its task and answers", async () => {
    const script = `console.log(JSON.stringify({ kind: "done", link: JSON.parse(await Bun.stdin.text()).kind }))`;
    expect(await child(script)(task)).toEqual({ kind: "done", link: "remove" });
  });

  test("gets nothing of this process' environment", async () => {
    const script = `console.log(JSON.stringify({ kind: "done", link: String(Object.keys(process.env)) }))`;
    const run = taskRunner([process.execPath, "-e", script], { HEDDLE_RUN_DIR: "/x" });
    expect(await run(task)).toEqual({ kind: "done", link: "HEDDLE_RUN_DIR" });
  });

  test("that says nothing, or nonsense, or cannot be started, has failed", async () => {
    expect(await why("process.exitCode = 3")).toBe("the child process ended with 3");
    expect(await why("console.log('what?')")).toContain("answer of the child process");
    expect(await why(`console.log('{"kind":"maybe"}')`)).toContain("is not one of done, failed");
    const missing = await taskRunner(["/nowhere/heddle"], {})(task);
    expect(missing.kind).toBe("failed");
  });

  test("that somebody ends is begun again, and not for ever", async () => {
    using dir = tempDir("ended");
    const file = JSON.stringify(dir.in("tries"));
    const script = `const { appendFileSync, readFileSync } = require("node:fs");
      appendFileSync(${file}, "x");
      if (readFileSync(${file}, "utf8").length < 3) process.kill(process.pid, "SIGKILL");
      console.log(JSON.stringify({ kind: "done" }));`;
    expect(await child(script)(task)).toEqual({ kind: "done" });
    expect(await why("process.kill(process.pid, 'SIGKILL')")).toBe("the child process was ended 3 times");
  });

  test("waits while as many as may be are at work", async () => {
    const run = child("console.log(JSON.stringify({ kind: 'done' }))");
    const answers = await Promise.all(Array.from({ length: CHILDREN + 4 }, () => run(task)));
    expect(answers.every(({ kind }) => kind === "done")).toBe(true);
  });
});

test.each([
  ["of no kind", {}],
  ["of another kind", { kind: "format" }],
  ["without its network", { kind: "network" }],
  ["with a network that Docker never sent", { kind: "network", network: { NetworkID: "../x" } }],
  ["with a port of nothing", { kind: "ports", network: { NetworkID: "n" }, endpoint: {}, open: [{}] }],
  [
    "about things that there are not",
    { kind: "remove", what: [{ what: "host", networkId: "n", endpointId: "" }] },
  ],
])("a task %s is refused", (_, value) => {
  expect(() => readTask(value, "")).toThrow();
});
