/**
 * A service on a Unix socket: who may speak, how many at a time, and the end of it all. What is said is its owner's.
 */
import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { dirOf, makeDirs, removeIfThere, statLink } from "./files.ts";
import {
  acceptNext,
  adoptListener,
  listenUnix,
  type PeerCredentials,
  peerCredentials,
  signalCallers,
  type UnixListener,
} from "./unix-listener.ts";

/** Bun's types do not know that a connection may be made of a descriptor, which the event loop then owns. */
export interface Connection {
  /** How many bytes were taken; the rest after `drain`. */
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

/** Makes a connection of a descriptor that was accepted. */
export const adoptConnection = (fd: number, socket: Handlers): Promise<Connection> =>
  (Bun.connect as unknown as (o: { fd: number; socket: Handlers }) => Promise<Connection>)({ fd, socket });

/**
 * The socket to listen on: the one that a service manager passed on, or a new one at `path`. What a dead service left there
 * is replaced. `remove` is called at the end by who made the file.
 * @throws resource/exists if `what`, the name of this service, listens there, or something else than a socket is there
 */
export async function openListener(
  path: string,
  passedOn: number | undefined,
  what: string,
): Promise<{ readonly listener: UnixListener; remove(): void }> {
  if (passedOn !== undefined) return { listener: adoptListener(passedOn), remove: () => {} };
  makeDirs(dirOf(path), 0o700);
  const found = statLink(path);
  if (found !== undefined) {
    const S_IFMT = 0o170000;
    const S_IFSOCK = 0o140000;
    if ((found.mode & S_IFMT) !== S_IFSOCK)
      throw new NetError("resource/exists", { what: "something that is not a socket", where: path });
    if (await answers(path)) throw new NetError("resource/exists", { what, where: path });
    removeIfThere(path);
  }
  const listener = listenUnix(path);
  const mine = statLink(path);
  return {
    listener,
    remove() {
      // Another one may have taken the place meanwhile.
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

/** What waits for a caller that does not read, in bytes; one that lets more pile up is cut off. */
const MOST_UNSENT = 16 * 1024 * 1024;

/** How a conversation of one question goes on from the service's side. */
export interface Speaker {
  /** Says something, while the answer takes. */
  say(text: string): void;
  /** Says this last. */
  end(text: string): void;
  /** Ends without a word. */
  cutOff(): void;
}
export interface OneQuestion {
  /** A caller that has not asked by then is cut off, in milliseconds. */
  readonly withinMs: number;
  /** No more bytes than this are kept. */
  readonly most: number;
  /** Takes all that has come; true if the question is whole, after which nothing more is heard. */
  readonly hear: (heard: Uint8Array, speaker: Speaker) => boolean;
  /** Called once, when the conversation has ended. */
  readonly over: () => void;
}

/** A conversation on a descriptor, which it owns from then on: one question, what is said meanwhile, the answer, the end. */
export function converse(fd: number, { withinMs, most, hear, over }: OneQuestion): { close(): void } {
  let heard: Uint8Array = new Uint8Array(0);
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
    if (unsent.length + text.length > MOST_UNSENT) return connection?.terminate();
    unsent = Buffer.concat([unsent, Buffer.from(text)]);
    last ||= end;
    flush();
  };
  const speaker: Speaker = {
    say: (text) => send(text, false),
    end: (text) => send(text, true),
    cutOff: () => connection?.terminate(),
  };
  const tooLate = setTimeout(() => connection?.terminate(), withinMs);
  const finish = (): void => {
    clearTimeout(tooLate);
    over();
  };
  void adoptConnection(fd, {
    data: (socket, bytes) => {
      connection = socket;
      if (asked) return;
      heard = Buffer.concat([heard, bytes], Math.min(heard.length + bytes.length, most));
      asked = hear(heard, speaker);
      if (!asked) return;
      clearTimeout(tooLate);
      heard = new Uint8Array(0);
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

export interface ServiceSetup {
  /** Connections at a time; who finds no place is cut off. */
  readonly most: number;
  /** Who may speak; root and this process' own user unless told. Who may connect at all is the file's mode. */
  readonly admits?: (caller: PeerCredentials) => boolean;
  /** Owns the descriptor from then on, and calls `over` when the conversation has ended. */
  readonly converse: (fd: number, over: () => void, caller: PeerCredentials) => { close(): void };
  readonly log: (line: string) => void;
}

/** Root, or the user that this process runs as. */
export const isOwner = ({ uid }: PeerCredentials): boolean => uid === 0 || uid === process.geteuid?.();

export interface Service {
  /** Closes the socket and every connection. */
  stop(): void;
  /** Closes the socket, and every connection that has not ended by itself after so long. */
  finish(withinMs: number): Promise<void>;
}

/** Serves until stopped. */
export function serveCallers(
  listener: UnixListener,
  { most, admits = isOwner, converse, log }: ServiceSetup,
): Service {
  const open = new Set<{ close(): void }>();
  const empty = Promise.withResolvers<void>();
  let taking = true;
  const takeAll = (): void => {
    try {
      for (let fd = acceptNext(listener); fd !== undefined; fd = acceptNext(listener)) take(fd);
    } catch (e) {
      log(`a caller could not be taken: ${e instanceof Error ? e.message : String(e)}`);
    }
  };
  const take = (raw: number): void => {
    using fd = new Fd(raw);
    const caller = peerCredentials(raw);
    const { uid, pid } = caller;
    if (!admits(caller)) return log(`refused user ${uid} (process ${pid})`);
    if (open.size >= most) return log(`refused process ${pid}: ${most} connections`);
    const conversation = converse(
      fd.release(),
      () => {
        open.delete(conversation);
        if (!taking && open.size === 0) empty.resolve();
      },
      caller,
    );
    open.add(conversation);
  };
  // Unheard, the signal would end the process: it is listened to before the kernel is told to send it.
  process.on("SIGIO", takeAll);
  signalCallers(listener);
  // Those who called before the signal was listened to; and whatever the signal should miss.
  takeAll();
  const timer = setInterval(takeAll, 1000);
  const leave = (): void => {
    taking = false;
    clearInterval(timer);
    listener[Symbol.dispose]();
    process.off("SIGIO", takeAll);
  };
  const closeAll = (): void => {
    for (const { close } of open) close();
  };
  return {
    stop() {
      leave();
      closeAll();
    },
    async finish(withinMs) {
      leave();
      const late = setTimeout(empty.resolve, withinMs);
      if (open.size > 0) await empty.promise;
      clearTimeout(late);
      closeAll();
    },
  };
}
