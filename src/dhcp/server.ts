/**
 * The daemon's socket: one request a connection, and nothing longer or slower than it should be. What a request means is
 * `daemon.ts`.
 */
import { NetError } from "../errors.ts";
import type { UnixListener } from "../sys/unix-listener.ts";
import { converse, serveCallers, type Service, type Speaker } from "../sys/unix-service.ts";
import {
  decodeRequest,
  encodeFailure,
  encodeLeases,
  HEARTBEAT,
  HEARTBEAT_MS,
  LINE_BYTES,
  type LeaseView,
  type Request,
} from "./protocol.ts";

/** Connections at a time; a plugin that finds no place is told to try again. */
export const CONNECTIONS = 2048;
/** A caller that has not said what it wants by then is cut off. */
const REQUEST_MS = 10_000;

export interface ServerSetup {
  readonly handle: (request: Request, gone: AbortSignal) => Promise<readonly LeaseView[]>;
  readonly log: (line: string) => void;
}

/** Serves until stopped. */
export const serveSocket = (listener: UnixListener, setup: ServerSetup): Service =>
  serveCallers(listener, {
    most: CONNECTIONS,
    converse: (fd, over) => answerLine(fd, setup, over),
    log: setup.log,
  });

/** One connection: a line in, lines out while it takes, the answer, the end. */
function answerLine(fd: number, { handle, log }: ServerSetup, over: () => void): { close(): void } {
  const gone = new AbortController();
  let beat: ReturnType<typeof setInterval> | undefined;
  const answer = async (line: string, speaker: Speaker): Promise<void> => {
    beat = setInterval(() => speaker.say(HEARTBEAT), HEARTBEAT_MS);
    try {
      speaker.end(encodeLeases(await handle(decodeRequest(line), gone.signal)));
    } catch (e) {
      if (!(e instanceof NetError) && !gone.signal.aborted) log(`a request failed: ${String(e)}`);
      speaker.end(encodeFailure(e));
    } finally {
      clearInterval(beat);
    }
  };
  return converse(fd, {
    withinMs: REQUEST_MS,
    most: LINE_BYTES + 1,
    hear: (heard, speaker) => {
      const end = heard.indexOf(0x0a);
      if (heard.length > LINE_BYTES) speaker.cutOff();
      else if (end < 0) return false;
      else void answer(Buffer.from(heard.subarray(0, end)).toString("utf8"), speaker);
      return true;
    },
    over: () => {
      clearInterval(beat);
      over();
      gone.abort(new Error("the plugin went away"));
    },
  });
}
