/**
 * The two workers as one thing: they begin paused, get their peers while they run, and are paused and ended in bounded
 * time. The descriptors that they use belong to the caller and must stay open until `end` has returned.
 */
import { type Fd } from "../sys/fd.ts";
import { openWaker, wake } from "../sys/packet-io.ts";
import { COUNTER_BYTES, Counters } from "./counters.ts";
import { Duty, DUTY_BYTES } from "./duty.ts";
import type { PeerTable } from "./peers.ts";
import type { Direction, Notice, Request, WorkerSetup } from "./worker-protocol.ts";

export interface Engine {
  readonly sent: Counters;
  readonly received: Counters;
  /** Both workers move packets now; else so little moves that one does both directions. */
  readonly isShared: boolean;
  /** Settles with the reason when a worker can go no further, for example since the device is gone. */
  readonly failed: Promise<string>;
  setPeers(peers: PeerTable): Promise<void>;
  run(): Promise<void>;
  /** After this nothing is read any more, and all that was read has been sent on. */
  pause(): Promise<void>;
  end(): Promise<void>;
}

type OfBoth = "duty" | "counters";
type OfOne = "direction" | "waker" | "otherWaker" | "posted";
export type EngineSetup = Omit<WorkerSetup, OfBoth | OfOne>;

/** Workers that have started and know nothing yet. */
export interface Crew {
  readonly sender: Hand;
  readonly receiver: Hand;
  readonly failed: Promise<string>;
  /** Ends them before they got anything to do. */
  dismiss(): void;
}

/**
 * Starts the two threads, which takes longer than all that follows. A worker of a compiled program is the same file: main.ts
 * asks which thread it is in.
 */
export async function hireCrew(entry: string = Bun.main): Promise<Crew> {
  const { promise: failed, resolve: fail } = Promise.withResolvers<string>();
  const [sender, receiver] = await Promise.all([
    startWorker(entry, "send", fail),
    startWorker(entry, "receive", fail),
  ]);
  return {
    sender,
    receiver,
    failed,
    dismiss() {
      sender.end();
      receiver.end();
    },
  };
}

/** Gives a crew its work, paused. It is ended by `end` from then on. */
export async function startEngine({ sender, receiver, failed }: Crew, setup: EngineSetup): Promise<Engine> {
  const counters = {
    send: new SharedArrayBuffer(COUNTER_BYTES),
    receive: new SharedArrayBuffer(COUNTER_BYTES),
  };
  const shared = { ...setup, counters, duty: new SharedArrayBuffer(DUTY_BYTES) };
  const duty = new Duty(shared.duty, "send", () => {});
  await Promise.all([
    sender.begin({ ...shared, otherWaker: receiver.waker }),
    receiver.begin({ ...shared, otherWaker: sender.waker }),
  ]);
  let ended = false;
  const both = async (request: Request): Promise<void> => {
    await Promise.all([sender.ask(request), receiver.ask(request)]);
  };
  return {
    sent: new Counters(counters.send),
    received: new Counters(counters.receive),
    get isShared() {
      return duty.isMine;
    },
    failed,
    setPeers: (peers) => both({ kind: "peers", peers }),
    run: () => both({ kind: "run" }),
    pause: () => both({ kind: "pause" }),
    async end() {
      if (ended) return;
      ended = true;
      await both({ kind: "pause" });
      sender.end();
      receiver.end();
    },
  };
}

interface Hand {
  readonly waker: number;
  begin(setup: Omit<WorkerSetup, Exclude<OfOne, "otherWaker">>): Promise<void>;
  ask(request: Request): Promise<void>;
  end(): void;
}

async function startWorker(entry: string, direction: Direction, fail: (why: string) => void): Promise<Hand> {
  const waker: Fd = openWaker();
  const posted = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const worker = new Worker(entry);
  let dead = false;
  const waiting: (() => void)[] = [];
  const listening = Promise.withResolvers<void>();
  worker.addEventListener("message", ({ data }: MessageEvent<Notice>) => {
    if (data.kind === "listening") listening.resolve();
    else if (data.kind === "done") waiting.shift()?.();
    else fail(`${direction}: ${data.why}`);
  });
  worker.addEventListener("error", ({ message }) => {
    fail(`${direction}: ${message}`);
    dead = true;
    listening.resolve();
    for (const settle of waiting.splice(0)) settle();
  });
  await listening.promise;
  const ask = async (request: Request): Promise<void> => {
    if (dead) return undefined;
    const done = Promise.withResolvers<void>();
    waiting.push(done.resolve);
    // First of all: a worker that heard more than was sent would wait for ever.
    Atomics.add(new Int32Array(posted), 0, 1);
    worker.postMessage(request, []);
    wake(waker.raw);
    return done.promise;
  };
  await ask({ kind: "warm", direction });
  return {
    waker: waker.raw,
    begin: (setup) => ask({ kind: "begin", setup: { ...setup, direction, waker: waker.raw, posted } }),
    ask,
    end() {
      worker.terminate();
      waker[Symbol.dispose]();
    },
  };
}
