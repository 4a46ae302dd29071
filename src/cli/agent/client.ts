/** Asking the agent of this host: one question over its socket, and its answers as they come. */
import { type Answer, API_VERSION, type Ask, encodeLine } from "../../agent/api.ts";
import { NetError } from "../../errors.ts";
import { errnoOf } from "../../sys/files.ts";

export interface Asked {
  readonly ask: Ask;
  readonly follow?: boolean;
  readonly after?: number;
}

/** A line of an answer is not longer: a status, or the nodes of the largest fabric. */
const LINE_BYTES = 64 * 1024 * 1024;

/**
 * The answers, until the agent ends the conversation.
 * @throws status/unavailable if no agent is there; usage/invalid if it refuses
 */
export async function* askAgent(path: string, asked: Asked): AsyncGenerator<Answer> {
  const heard: string[] = [];
  let rest = "";
  let over = false;
  let wake = Promise.withResolvers<void>();
  const ring = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const decoder = new TextDecoder();
  const end = (): void => {
    over = true;
    ring();
  };
  const socket = await connect(path, {
    data: (_, bytes) => {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > LINE_BYTES) return end();
      heard.push(...lines);
      ring();
    },
    close: end,
    error: end,
  });
  try {
    socket.write(encodeLine({ version: API_VERSION, ...asked }));
    for (;;) {
      const next = wake.promise;
      const line = heard.shift();
      if (line !== undefined) {
        const answer = JSON.parse(line) as Answer;
        if (answer.kind === "refused") throw new NetError("usage/invalid", { why: answer.why });
        if (answer.kind === "end") return;
        yield answer;
      } else if (over) return;
      else await next;
    }
  } finally {
    socket.terminate();
  }
}

async function connect(path: string, socket: Bun.SocketHandler<undefined>): Promise<Bun.Socket> {
  try {
    return await Bun.connect({ unix: path, socket });
  } catch (e) {
    const errno = errnoOf(e) ?? "";
    if (errno === "EACCES" || errno === "EPERM")
      throw new NetError("sys/call", { call: "connect", on: path, errno }, { cause: e });
    throw new NetError(
      "status/unavailable",
      {
        why: `no agent listens on ${path}`,
        next: "start one: systemctl start heddle-agent.service, or heddle agent --config FILE; for one that listens elsewhere give --socket",
      },
      { cause: e },
    );
  }
}
