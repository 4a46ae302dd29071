import { describe, expect, test } from "bun:test";
import { askAgent } from "../cli/agent/client.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openListener } from "../sys/unix-service.ts";
import { serveApi } from "./api-server.ts";
import { type Answer, decodeQuestion } from "./api.ts";
import { makeEventLog } from "./event-log.ts";
import { statusOf } from "./status.ts";
import { begin } from "./step.ts";
import { telling } from "./tellings.ts";

const about = { node: "host1", provider: "flannel", version: "1", pid: 7, startedAt: 0 };
const status: Answer = { kind: "status", status: statusOf(begin(0), about) };

describe("a question", () => {
  test("is a line of JSON", () => {
    expect(decodeQuestion('{"version":1,"ask":"events","follow":true}')).toEqual({
      version: 1,
      ask: "events",
      follow: true,
    });
  });

  test.each([
    ["", "the question"],
    ["{", "the question"],
    ["[]", "an object"],
    ['{"ask":"status"}', "version is missing"],
    ['{"version":2,"ask":"status"}', "this agent speaks 1"],
    ['{"version":1,"ask":"format"}', "ask"],
    ['{"version":1,"ask":"events","after":-1}', "after"],
  ])("%j is refused", (line, why) => {
    expect(() => decodeQuestion(line)).toThrow(why);
  });
});

describe("the agent's socket", () => {
  async function served() {
    const stack = new DisposableStack();
    const dir = stack.use(tempDir("agent"));
    const path = dir.in("agent.sock");
    const { listener, remove } = await openListener(path, undefined, "an agent");
    stack.defer(remove);
    const events = makeEventLog();
    const drained: number[] = [];
    const api = serveApi(listener, {
      answer: () => status,
      events,
      drain: () => void drained.push(1),
      log: () => {},
    });
    stack.defer(() => api.stop());
    return { path, events, drained, [Symbol.dispose]: () => stack.dispose() };
  }
  const all = async (answers: AsyncIterable<Answer>): Promise<readonly Answer[]> => Array.fromAsync(answers);

  test("answers what it is asked, and its owner may drain", async () => {
    using agent = await served();
    expect(await all(askAgent(agent.path, { ask: "status" }))).toEqual([status]);
    expect(agent.drained).toHaveLength(0);
    expect(await all(askAgent(agent.path, { ask: "drain" }))).toEqual([status]);
    expect(agent.drained).toHaveLength(1);
  });

  test("tells what has happened, and to those who follow what happens", async () => {
    using agent = await served();
    agent.events.add(telling("draining", "first"), 0);
    const before = await all(askAgent(agent.path, { ask: "events" }));
    expect(before.map((a) => (a.kind === "event" ? a.event.text : a.kind))).toEqual(["first"]);
    const heard: string[] = [];
    for await (const answer of askAgent(agent.path, { ask: "events", follow: true })) {
      if (answer.kind === "event") heard.push(answer.event.text);
      if (heard.length === 1) agent.events.add(telling("ready", "second"), 0);
      if (heard.length === 2) break;
    }
    expect(heard).toEqual(["first", "second"]);
  });

  test("says why it refuses a question", async () => {
    using agent = await served();
    const odd = all(askAgent(agent.path, { ask: "format" as "status" }));
    expect(odd).rejects.toThrow("ask");
  });

  test("that nobody listens on is said so", () => {
    expect(all(askAgent("/nonexistent/agent.sock", { ask: "status" }))).rejects.toThrow("no agent listens");
  });
});
