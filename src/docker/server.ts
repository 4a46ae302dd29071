/** The plugin's socket: one request a connection, and nothing longer or slower than it should be. */
import type { UnixListener } from "../sys/unix-listener.ts";
import { adoptConnection, type Connection, type Service, serveCallers } from "../sys/unix-service.ts";
import type { Reply } from "./api.ts";
import { answer, BODY_BYTES, HEAD_BYTES, hear, type HttpRequest } from "./http.ts";

/** Connections at a time. Docker has one for each call that waits. */
export const CONNECTIONS = 512;
/** A caller that has not said what it wants by then is cut off. */
const REQUEST_MS = 10_000;

export interface ServerSetup {
  /** Never rejects. */
  readonly handle: (request: HttpRequest) => Promise<Reply>;
  readonly log: (line: string) => void;
}

/** Serves until stopped. */
export const serveHttp = (listener: UnixListener, setup: ServerSetup): Service =>
  serveCallers(listener, {
    most: CONNECTIONS,
    converse: (fd, over) => converse(fd, setup, over),
    log: setup.log,
  });

function converse(fd: number, { handle }: ServerSetup, over: () => void): { close(): void } {
  let heard = new Uint8Array(0);
  let asked = false;
  let unsent: Uint8Array | undefined;
  let connection: Connection | undefined;
  const flush = (): void => {
    if (connection === undefined || unsent === undefined) return;
    unsent = unsent.subarray(Math.max(0, connection.write(unsent)));
    if (unsent.length === 0) connection.end();
  };
  const send = ({ status, body }: Reply): void => {
    unsent = Buffer.from(answer(status, body));
    flush();
  };
  const tooLate = setTimeout(() => connection?.terminate(), REQUEST_MS);
  const finish = (): void => {
    clearTimeout(tooLate);
    over();
  };
  const listen = (bytes: Uint8Array): void => {
    if (asked) return;
    heard = Buffer.concat([heard, bytes], Math.min(heard.length + bytes.length, HEAD_BYTES + BODY_BYTES + 4));
    const what = hear(heard);
    if (what.kind === "more") return;
    asked = true;
    clearTimeout(tooLate);
    heard = new Uint8Array(0);
    if (what.kind === "refused") return send({ status: what.status, body: { Err: what.why } });
    void handle(what.request).then(send);
  };
  void adoptConnection(fd, {
    data: (socket, bytes) => {
      connection = socket;
      listen(bytes);
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
