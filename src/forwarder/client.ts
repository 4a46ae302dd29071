/** The other side of the control socket: what an agent, a command or a test asks a forwarder. */
import { isNetError, NetError } from "../errors.ts";
import type { Counter } from "./counters.ts";
import { MOST_LINE_BYTES, type PeerJson } from "./requests.ts";

/** A request as JSON; `remove` stops the forwarder and lets the device go. */
export type Question =
  | { readonly command: "set-peer"; readonly peer: PeerJson }
  | { readonly command: "remove-peer"; readonly id: string }
  | { readonly command: "replace-all"; readonly peers: readonly PeerJson[] }
  | { readonly command: "peers" | "status" | "stop" | "remove" };

export interface ForwarderStatus {
  readonly device: string;
  readonly port: number;
  /** How many peers it knows. */
  readonly peers: number;
  /** How long it has run. */
  readonly seconds: number;
  /** How many threads move packets: 1 while little moves. */
  readonly workers: 1 | 2;
  readonly sent: Readonly<Record<Counter, number>>;
  readonly received: Readonly<Record<Counter, number>>;
}

/**
 * Asks one question and returns the answer's object.
 * @throws try-again if no forwarder listens there, answers in time or takes the request now; usage/invalid for a bad one
 */
export async function askForwarder(
  control: string,
  question: Question,
  timeoutMs = 5000,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = Promise.withResolvers<string>();
  const fail = (why: string): void =>
    answer.reject(new NetError("try-again", { why: sentence(control, why) }));
  let heard = "";
  let unsent: Uint8Array = Buffer.from(`${JSON.stringify(question)}\n`);
  const more = (socket: { write(bytes: Uint8Array): number }): void => {
    if (unsent.length > 0) unsent = unsent.subarray(Math.max(0, socket.write(unsent)));
  };
  const late = setTimeout(() => fail(SILENT), timeoutMs);
  try {
    const socket = await Bun.connect({
      unix: control,
      socket: {
        open: more,
        drain: more,
        data(_, bytes) {
          heard += bytes.toString();
          if (heard.endsWith("\n")) answer.resolve(heard);
          else if (heard.length > MOST_LINE_BYTES) fail("says too much");
        },
        close: () => fail("has closed the connection"),
        error: (_, e) => fail(e.message),
      },
    }).catch((e: unknown) => {
      fail(`does not listen (${(e as Error).message})`);
      return undefined;
    });
    try {
      return checked(await answer.promise);
    } finally {
      socket?.terminate();
    }
  } finally {
    clearTimeout(late);
  }
}

const SILENT = "does not answer";
const sentence = (control: string, why: string): string => `the forwarder at ${control} ${why}`;

/** True if somebody listens there who has not answered in time. */
export const isSilence = (e: unknown, control: string): boolean =>
  isNetError(e, "try-again") && e.detail.why === sentence(control, SILENT);

export async function forwarderStatus(control: string, timeoutMs?: number): Promise<ForwarderStatus> {
  const { ok: _, ...status } = await askForwarder(control, { command: "status" }, timeoutMs);
  return status as unknown as ForwarderStatus;
}

function checked(line: string): Readonly<Record<string, unknown>> {
  const answer = JSON.parse(line) as Readonly<Record<string, unknown>>;
  if (answer["ok"] === true) return answer;
  const why = String(answer["error"]);
  throw new NetError(answer["code"] === "usage/invalid" ? "usage/invalid" : "try-again", { why });
}
