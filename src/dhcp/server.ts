/**
 * The daemon's socket: one request a connection, and nothing longer or slower than it should be. What a request means is
 * `daemon.ts`.
 */
import { NetError } from "../errors.ts";
import type { UnixListener } from "../sys/unix-listener.ts";
import { adoptConnection, type Connection, type Service, serveCallers } from "../sys/unix-service.ts";
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
    converse: (fd, over) => converse(fd, setup, over),
    log: setup.log,
  });

/** One connection: a line in, lines out while it takes, the answer, the end. */
function converse(fd: number, { handle, log }: ServerSetup, over: () => void): { close(): void } {
  const gone = new AbortController();
  const chunks: Uint8Array[] = [];
  let length = 0;
  let asked = false;
  let unsent: Uint8Array = new Uint8Array(0);
  let last = false;
  let connection: Connection | undefined;
  const flush = (): void => {
    if (connection === undefined) return;
    if (unsent.length > 0) unsent = unsent.subarray(Math.max(0, connection.write(unsent)));
    if (unsent.length === 0 && last) connection.end();
  };
  const send = (text: string, end: boolean): void => {
    unsent = Buffer.concat([unsent, Buffer.from(text)]);
    last ||= end;
    flush();
  };
  const tooLate = setTimeout(() => connection?.terminate(), REQUEST_MS);
  let beat: ReturnType<typeof setInterval> | undefined;
  const finish = (): void => {
    clearTimeout(tooLate);
    clearInterval(beat);
    over();
    gone.abort(new Error("the plugin went away"));
  };
  const answer = async (line: string): Promise<void> => {
    beat = setInterval(() => send(HEARTBEAT, false), HEARTBEAT_MS);
    try {
      send(encodeLeases(await handle(decodeRequest(line), gone.signal)), true);
    } catch (e) {
      if (!(e instanceof NetError) && !gone.signal.aborted) log(`a request failed: ${String(e)}`);
      send(encodeFailure(e), true);
    } finally {
      clearInterval(beat);
    }
  };
  const hear = (bytes: Uint8Array): void => {
    if (asked) return;
    chunks.push(bytes.slice());
    length += bytes.length;
    if (length > LINE_BYTES) return connection?.terminate();
    if (!bytes.includes(0x0a)) return;
    asked = true;
    clearTimeout(tooLate);
    const text = Buffer.concat(chunks).toString("utf8");
    void answer(text.slice(0, text.indexOf("\n")));
  };
  void adoptConnection(fd, {
    data: (socket, bytes) => {
      connection = socket;
      hear(bytes);
    },
    drain: flush,
    close: finish,
    error: finish,
  }).then((socket) => {
    connection = socket;
    flush();
  }, finish);
  return { close: () => connection?.terminate() };
}
