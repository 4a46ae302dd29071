/** The plugin's socket: one request a connection, and nothing longer or slower than it should be. */
import type { UnixListener } from "../sys/unix-listener.ts";
import { converse, type Service, serveCallers, type Speaker } from "../sys/unix-service.ts";
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
    converse: (fd, over) =>
      converse(fd, {
        withinMs: REQUEST_MS,
        most: HEAD_BYTES + BODY_BYTES + 4,
        hear: hearRequest(setup),
        over,
      }),
    log: setup.log,
  });

const hearRequest =
  ({ handle }: ServerSetup) =>
  (heard: Uint8Array, speaker: Speaker): boolean => {
    const what = hear(heard);
    if (what.kind === "more") return false;
    const send = ({ status, body }: Reply): void => speaker.end(answer(status, body));
    if (what.kind === "refused") send({ status: what.status, body: { Err: what.why } });
    else void handle(what.request).then(send);
    return true;
  };
