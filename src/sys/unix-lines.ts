/**
 * A conversation of lines over a Unix socket, from the side of the service: requests are heard one after the other, each
 * when the one before it was answered. A caller that sends a line without an end, or does not read, is cut off.
 */
import { adoptConnection, type Connection } from "./unix-service.ts";

export interface LineService {
  /** Bytes of a line, and of answers that were not read yet. */
  readonly mostBytes: number;
  /** The answer to a line, without its end. `fd` is the connection's, for what lines cannot say. */
  readonly answer: (line: string, fd: number) => Promise<string>;
  /** Called once, when the conversation has ended. */
  readonly over: () => void;
}

/** Owns the descriptor from then on. */
export function converseInLines(fd: number, { mostBytes, answer, over }: LineService): { close(): void } {
  let heard: Uint8Array = new Uint8Array(0);
  let unsent: Uint8Array = new Uint8Array(0);
  let connection: Connection | undefined;
  let busy = false;
  let ended = false;
  const cutOff = (): void => connection?.terminate();
  const flush = (): void => {
    if (connection !== undefined && !ended && unsent.length > 0)
      unsent = unsent.subarray(Math.max(0, connection.write(unsent)));
  };
  const work = async (): Promise<void> => {
    busy = true;
    for (let end = heard.indexOf(NEWLINE); end >= 0 && !ended; end = heard.indexOf(NEWLINE)) {
      const line = new TextDecoder().decode(heard.subarray(0, end));
      heard = heard.slice(end + 1);
      unsent = Buffer.concat([unsent, Buffer.from(`${await answer(line, fd)}\n`)]);
      if (unsent.length > 2 * mostBytes) return cutOff();
      flush();
    }
    busy = false;
    if (heard.length > mostBytes) cutOff();
  };
  const finish = (): void => {
    if (ended) return;
    ended = true;
    over();
  };
  void adoptConnection(fd, {
    data: (socket, bytes) => {
      connection = socket;
      // While it waits for an answer, more than one further line is not kept.
      if (heard.length + bytes.length > 2 * mostBytes) return cutOff();
      heard = Buffer.concat([heard, bytes]);
      if (!busy) void work();
    },
    drain: flush,
    close: finish,
    error: finish,
  }).then((socket) => {
    connection = socket;
    flush();
  }, finish);
  return { close: cutOff };
}

const NEWLINE = 10;
