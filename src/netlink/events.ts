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
  const queue = makeQueue(options.queueLength ?? QUEUE_LENGTH);
  const subscription = await subscribe(options.name, open, queue);
  return {
    [Symbol.asyncIterator]: () => ({ next: queue.next }),
    [Symbol.asyncDispose]: async () => {
      queue.end();
      subscription.close();
    },
  };
}

/** What waits for the consumer, and whether more can come. */
interface Queue {
  relist(): void;
  push(event: NetlinkEvent): void;
  /** After what waits, the iteration throws this. */
  fail(reason: unknown): void;
  /** The iteration is over, whatever waits. */
  end(): void;
  next(this: void): Promise<IteratorResult<NetlinkEvent, undefined>>;
}

type Ending = { readonly kind: "none" | "done" } | { readonly kind: "failed"; readonly reason: unknown };

function makeQueue(limit: number): Queue {
  let waiting: NetlinkEvent[] = [];
  let ending: Ending = { kind: "none" };
  let changed = Promise.withResolvers<void>();
  const wake = (): void => {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  };
  const replace = (events: NetlinkEvent[], end: Ending = ending): void => {
    waiting = events;
    ending = end;
    wake();
  };
  // What waited is older than the list that follows.
  const relist = (): void => replace([{ kind: "relist" }]);
  return {
    relist,
    push: (event) => {
      if (waiting.push(event) > limit) relist();
      else wake();
    },
    fail: (reason) => replace(waiting, { kind: "failed", reason }),
    end: () => replace([], { kind: "done" }),
    next: async () => {
      for (;;) {
        const event = waiting.shift();
        if (event !== undefined) return { done: false, value: event };
        if (ending.kind === "failed") throw ending.reason;
        if (ending.kind === "done") return { done: true, value: undefined };
        await changed.promise;
      }
    },
  };
}

/** Keeps a subscribed socket open and puts what it says into the queue. */
async function subscribe(name: string, open: () => Fd, queue: Queue): Promise<{ close(): void }> {
  let current: Adopted | undefined;
  let closed = false;
  let quietReopens = 0;

  const deliver = (datagram: Uint8Array): void => {
    quietReopens = 0;
    try {
      queue.push({ kind: "messages", messages: decodeMessages(datagram) });
    } catch {
      queue.relist();
    }
  };
  const connect = async (): Promise<void> => {
    const over = Promise.withResolvers<void>();
    const socket = await adopt(open(), { data: (_, bytes) => deliver(bytes), close: () => over.resolve() });
    if (closed) return socket.terminate();
    current = socket;
    queue.relist();
    // An error of reading, ENOBUFS above all, closes the socket.
    void over.promise.then(reopen);
  };
  const reopen = async (): Promise<void> => {
    if (closed) return;
    if (++quietReopens > REOPENS) return queue.fail(new NetError("netlink/overrun", { groups: [name] }));
    await connect().catch((reason: unknown) => queue.fail(reason));
  };

  await connect();
  return {
    close: () => {
      closed = true;
      current?.terminate();
    },
  };
}

interface Adopted {
  terminate(): void;
}
interface Handlers {
  data(socket: unknown, bytes: Uint8Array): void;
  close(): void;
}

/**
 * Gives the descriptor to the event loop, which closes it at the end. `fd` is missing in Bun's types; of all ways to
 * read a descriptor only this and `Bun.file(fd).stream()` wake for netlink.
 */
function adopt(fd: Fd, socket: Handlers): Promise<Adopted> {
  const connect = Bun.connect as unknown as (o: { fd: number; socket: Handlers }) => Promise<Adopted>;
  return connect({ fd: fd.release(), socket });
}
