/** The other end of a stage: starts the process in namespaces of its own, gives it orders and waits for each answer. */
import { inProject } from "../scripts/paths.ts";
import type { Answer, Order, StageSetup } from "./stage.ts";

export interface StageClient extends AsyncDisposable {
  /** @throws with what went wrong on the stage */
  order(order: Order): Promise<Answer>;
}

/** Starts a stage and sets it up; bind it with `await using`. */
export async function openStage(setup: StageSetup): Promise<StageClient> {
  const argv = [
    "unshare",
    "--net",
    "--mount",
    "--propagation",
    "private",
    process.execPath,
    inProject("bench/stage.ts"),
  ];
  const child = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const lines = linesOf(child.stdout);
  const client: StageClient = {
    async order(order) {
      void child.stdin.write(`${JSON.stringify(order)}\n`);
      await child.stdin.flush();
      const { value } = await lines.next();
      if (value === undefined) throw new Error(`the stage of ${setup.case} ended with ${await child.exited}`);
      const answer = JSON.parse(value) as Answer;
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer;
    },
    async [Symbol.asyncDispose]() {
      await child.stdin.end();
      await child.exited;
    },
  };
  try {
    await client.order({ do: "setup", setup });
    return client;
  } catch (e) {
    await client[Symbol.asyncDispose]();
    throw e;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
  }
  return undefined;
}
