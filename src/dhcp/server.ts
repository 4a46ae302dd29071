/**
 * The daemon's socket: who may speak, one request a connection, and nothing longer or slower than it should be. What a
 * request means is `daemon.ts`.
 */
import { NetError } from "../errors.ts";
import { Fd } from "../sys/fd.ts";
import { dirOf, makeDirs, removeIfThere, statLink } from "../sys/files.ts";
import {
  acceptNext,
  adoptListener,
  listenUnix,
  peerCredentials,
  signalCallers,
  type UnixListener,
} from "../sys/unix-listener.ts";
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
export interface Server {
  /** Closes the socket and every connection. */
  stop(): void;
}

/** Bun's types do not know that a connection may be made of a descriptor, which the event loop then owns. */
interface Connection {
  write(data: string | Uint8Array): number;
  end(): void;
  terminate(): void;
}
interface Handlers {
  data(connection: Connection, bytes: Uint8Array): void;
  drain(connection: Connection): void;
  close(): void;
  error(): void;
}
const adopt = (fd: number, socket: Handlers): Promise<Connection> =>
  (Bun.connect as unknown as (o: { fd: number; socket: Handlers }) => Promise<Connection>)({ fd, socket });

/**
 * The socket to listen on: the one that a service manager passed on, or a new one at `path`. What a dead daemon left there is
 * replaced. `removed` is called for at the end by who made the file.
 * @throws resource/exists if a daemon listens there, or something else than a socket is there
 */
export async function openListener(
  path: string,
  passedOn: number | undefined,
): Promise<{ readonly listener: UnixListener; remove(): void }> {
  if (passedOn !== undefined) return { listener: adoptListener(passedOn), remove: () => {} };
  makeDirs(dirOf(path), 0o700);
  const found = statLink(path);
  if (found !== undefined) {
    const S_IFMT = 0o170000;
    const S_IFSOCK = 0o140000;
    if ((found.mode & S_IFMT) !== S_IFSOCK)
      throw new NetError("resource/exists", { what: "something that is not a socket", where: path });
    if (await answers(path)) throw new NetError("resource/exists", { what: "a DHCP daemon", where: path });
    removeIfThere(path);
  }
  const listener = listenUnix(path);
  const mine = statLink(path);
  return {
    listener,
    remove() {
      // Another daemon may have taken the place meanwhile.
      if (statLink(path)?.ino === mine?.ino) removeIfThere(path);
    },
  };
}

async function answers(path: string): Promise<boolean> {
  try {
    const nothing = (): void => {};
    const socket = await Bun.connect({
      unix: path,
      socket: { data: nothing, open: nothing, error: nothing },
    });
    socket.terminate();
    return true;
  } catch {
    return false;
  }
}

/** Serves until stopped. */
export function serveSocket(listener: UnixListener, setup: ServerSetup): Server {
  const open = new Set<{ close(): void }>();
  const takeAll = (): void => {
    try {
      for (let fd = acceptNext(listener); fd !== undefined; fd = acceptNext(listener)) take(fd);
    } catch (e) {
      setup.log(`a caller could not be taken: ${e instanceof Error ? e.message : String(e)}`);
    }
  };
  const take = (raw: number): void => {
    using fd = new Fd(raw);
    const { uid, pid } = peerCredentials(raw);
    if (uid !== 0 && uid !== process.geteuid?.()) return setup.log(`refused user ${uid} (process ${pid})`);
    if (open.size >= CONNECTIONS) return setup.log(`refused process ${pid}: ${CONNECTIONS} connections`);
    const conversation = converse(fd.release(), setup, () => open.delete(conversation));
    open.add(conversation);
  };
  // Unheard, the signal would end the process: it is listened to before the kernel is told to send it.
  process.on("SIGIO", takeAll);
  signalCallers(listener);
  // Those who called before the signal was listened to; and whatever the signal should miss.
  takeAll();
  const timer = setInterval(takeAll, 1000);
  return {
    stop() {
      clearInterval(timer);
      listener[Symbol.dispose]();
      process.off("SIGIO", takeAll);
      for (const { close } of open) close();
    },
  };
}

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
  void adopt(fd, {
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
