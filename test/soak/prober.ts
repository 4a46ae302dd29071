/**
 * Asks containers for their pages from the ground's own namespace, from one process that stays: a request is a line on its
 * standard input, an answer one on its standard output.
 */
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import type { Ground } from "../runtimes/ground.ts";

/** A server may be a moment behind its container's start; who does not answer at all is asked twice. */
const CHILD = `const [refusedMs, silentMs] = process.argv.slice(1).map(Number);
async function ask({ id, url }) {
  let silent = 0;
  for (const deadline = performance.now() + refusedMs;; await Bun.sleep(20))
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(silentMs), keepalive: false, headers: { connection: "close" } });
      return { id, text: await answer.text() };
    } catch (e) {
      if (performance.now() > deadline || (e.name === "TimeoutError" && ++silent > 1)) return { id, why: String(e) };
    }
}
for await (const line of console) ask(JSON.parse(line)).then((answer) => console.log(JSON.stringify(answer)));`;

export interface Prober extends AsyncDisposable {
  /** What the page at this address says, or why there is no answer. */
  ask(address: string, port: number): Promise<{ readonly text: string } | { readonly why: string }>;
}

interface Answer {
  readonly id: number;
  readonly text?: string;
  readonly why?: string;
}

export function prober(on: Ground): Prober {
  const limits = [patience(5_000), patience(3_000)].map(String);
  const argv = ["nsenter", `--net=${on.net}`, "--", process.execPath, "-e", CHILD, ...limits];
  const child = Bun.spawn(argv, { env: { ...plainEnv }, stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const waiting = new Map<number, (answer: Answer) => void>();
  void deliver(child.stdout, waiting);
  let asked = 0;
  return {
    ask: async (address, port) => {
      const id = ++asked;
      const host = address.includes(":") ? `[${address}]` : address;
      const answer = Promise.withResolvers<Answer>();
      waiting.set(id, answer.resolve);
      void child.stdin.write(`${JSON.stringify({ id, url: `http://${host}:${port}/` })}\n`);
      await child.stdin.flush();
      const { text, why = "no answer" } = await answer.promise;
      return text === undefined ? { why } : { text: text.trim() };
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/** Hands every line to who waits for it; at the end of the stream nobody waits any more. */
async function deliver(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  waiting: Map<number, (answer: Answer) => void>,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const answer = JSON.parse(line) as Answer;
      waiting.get(answer.id)?.(answer);
      waiting.delete(answer.id);
    }
  }
  for (const [id, resolve] of waiting) resolve({ id, why: "the prober has ended" });
}
