import { NetError } from "../errors.ts";
import type { Fd } from "../sys/fd.ts";
import { decodeMessages, type Message } from "./message.ts";
import { openRaw, type protocol } from "./socket.ts";

/**
 * Multicast events of the kernel, through the event loop: nothing polls and no thread waits. Events only say that
 * something changed; the truth is what a list says, so that lost events cost one more list and nothing else.
 */
export type NetlinkEvent =
  /** What was not seen is unknown: list again. Also the first event, when the subscription is in force. */
  | { readonly kind: "relist" }
  /** One datagram of the kernel, in order. */
  | { readonly kind: "messages"; readonly messages: readonly Message[] };

export interface WatchOptions {
  readonly protocol: keyof typeof protocol;
  /** Bit mask of the groups: group n is bit n - 1 (RTMGRP_* in linux/rtnetlink.h). */
  readonly groups: number;
  /** For people: what was lost, if it was. */
  readonly name: string;
  /** The kernel's buffer for what was not read yet; the kernel doubles it, and caps it at rmem_max. */
  readonly receiveBytes?: number;
  /** Events that wait for a slow consumer; with one more they become a `relist`. */
  readonly queueLength?: number;
}

export interface NetlinkWatch extends AsyncIterable<NetlinkEvent>, AsyncDisposable {}

const RECEIVE_BYTES = 4 * 1024 * 1024;
const QUEUE_LENGTH = 1024;
/** Sockets opened in succession without a single event between: then something else is wrong than many changes. */
const REOPENS = 100;

type State =
  | { readonly kind: "open"; readonly socket: Adopted }
  | { readonly kind: "failed"; readonly reason: unknown }
  | { readonly kind: "closed" };

/**
 * Subscribes in the namespace of this process and delivers until it is disposed. After an overrun the socket is
 * opened anew and `relist` delivered. One consumer: a second iteration takes from the same queue. Opening the socket
 * is a parameter, so that a test can open it in another namespace.
 * @throws NetError `sys/call` if the socket cannot be opened; later, from the iteration, if it cannot be reopened
 */
export async function watchNetlink(
  options: WatchOptions,
  open: () => Fd = () => openRaw(options.protocol, options.groups, options.receiveBytes ?? RECEIVE_BYTES),
): Promise<NetlinkWatch> {
  const queueLength = options.queueLength ?? QUEUE_LENGTH;
  let queue: NetlinkEvent[] = [];
  let wake: (() => void) | undefined;
  let state: State = { kind: "closed" };
  let quietReopens = 0;
  let disposed = false;

  const changed = (): void => {
    wake?.();
    wake = undefined;
  };
  const relist = (): void => {
    // What waited is older than the list that follows.
    queue = [{ kind: "relist" }];
    changed();
  };
  const deliver = (datagram: Uint8Array): void => {
    quietReopens = 0;
    if (queue.length >= queueLength) return relist();
    try {
      queue.push({ kind: "messages", messages: decodeMessages(datagram) });
    } catch {
      return relist();
    }
    changed();
  };
  const fail = (reason: unknown): void => {
    state = { kind: "failed", reason };
    changed();
  };
  const connect = async (): Promise<void> => {
    let socket: Adopted;
    let ended = false;
    const lost = (): void => {
      if (ended) return;
      ended = true;
      // A read error, ENOBUFS above all, ends the socket. After `close` its state is not "open" any more.
      if (state.kind === "open" && state.socket === socket) void reopen();
    };
    socket = await adopt(open(), { data: (_, bytes) => deliver(bytes), close: lost, error: lost, end: lost });
    if (disposed) return socket.terminate();
    state = { kind: "open", socket };
    relist();
    if (ended) void reopen();
  };
  const reopen = async (): Promise<void> => {
    if (++quietReopens > REOPENS) return fail(new NetError("netlink/overrun", { groups: [options.name] }));
    try {
      await connect();
    } catch (reason) {
      if (!disposed) fail(reason);
    }
  };

  await connect();
  const next = async (): Promise<IteratorResult<NetlinkEvent, undefined>> => {
    for (;;) {
      const event = queue.shift();
      if (event !== undefined) return { done: false, value: event };
      if (state.kind === "failed") throw state.reason;
      if (state.kind === "closed") return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    [Symbol.asyncIterator]: () => ({ next }),
    [Symbol.asyncDispose]: async () => {
      disposed = true;
      const before = state;
      state = { kind: "closed" };
      queue = [];
      if (before.kind === "open") before.socket.terminate();
      changed();
    },
  };
}

interface Adopted {
  terminate(): void;
}
interface Handlers {
  data(socket: unknown, bytes: Uint8Array): void;
  close(): void;
  error(): void;
  end(): void;
}

/**
 * Gives the descriptor to the event loop, which closes it at the end. `fd` is missing in Bun's types; of all ways to
 * read a descriptor only this and `Bun.file(fd).stream()` wake for netlink.
 */
async function adopt(fd: Fd, socket: Handlers): Promise<Adopted> {
  const raw = fd.release();
  return (Bun.connect as unknown as (o: { fd: number; socket: Handlers }) => Promise<Adopted>)({
    fd: raw,
    socket,
  });
}
