/**
 * A worker: a thread of its own, which blocks in the kernel while there is nothing to move. One receives, the other sends; while
 * little moves, the one that receives does both (`duty.ts`). Either can be stopped at any time: its waker ends the wait, and a step
 * of the loop is short.
 */
import { availableParallelism } from "node:os";
import {
  calm,
  ERRNO,
  failureName,
  isReady,
  packetIo,
  POLL,
  POLL_BYTES,
  POLLFD_BYTES,
  setWish,
  wake,
} from "../sys/packet-io.ts";
import { pin } from "../sys/pinned.ts";
import { Counters } from "./counters.ts";
import { Calm, Duty, Meter, type Moved, Pressure } from "./duty.ts";
import { Eagerness, LOOK_MS } from "./eagerness.ts";
import { openIncoming } from "./incoming.ts";
import { openOutgoing } from "./outgoing.ts";
import type { PeerTable } from "./peers.ts";
import { warmUp } from "./warm-up.ts";
import type { Notice, Request, WorkerSetup } from "./worker-protocol.ts";

/** What a worker does, bound to its descriptors. */
interface Work {
  /** Moves packets until the number of requests is another one. Returns why it cannot go on, if so. */
  run(posted: Int32Array, heard: number): string | undefined;
  setPeers(peers: PeerTable): void;
}

/** The entry of a worker's thread. */
export function serveAsWorker(): void {
  // The executable is built for processes that end soon, and compiles little.
  Bun.unsafe.setJITPolicy(1);
  const say = (notice: Notice): void => postMessage(notice);
  let work: Work | undefined;
  let setup: WorkerSetup | undefined;
  let posted = new Int32Array(new SharedArrayBuffer(4));
  let heard = 0;
  let running = false;
  let scheduled = false;

  const loop = (): void => {
    scheduled = false;
    // With a request on its way it goes on when that was heard.
    if (!running || work === undefined || setup === undefined || Atomics.load(posted, 0) !== heard) return;
    const failed = work.run(posted, heard);
    if (failed === undefined) return;
    running = false;
    say({ kind: "failed", why: failed });
  };
  addEventListener("message", ({ data }: MessageEvent<Request>) => {
    heard++;
    if (data.kind === "warm") {
      warmUp(data.direction);
    } else if (data.kind === "begin") {
      setup = data.setup;
      posted = new Int32Array(data.setup.posted);
      work = data.setup.direction === "send" ? sending(data.setup) : receiving(data.setup);
    } else if (data.kind === "peers") work?.setPeers(data.peers);
    else running = data.kind === "run";
    say({ kind: "done" });
    if (scheduled) return;
    scheduled = true;
    setImmediate(loop);
  });
  say({ kind: "listening" });
}

/** Passed over by `poll`. */
const NO_DESCRIPTOR = -1;
/** How long a worker that sends waits for a packet until it counts that there was none. */
const CALM_MS = 50;

const cannotRead = (errno: number): string => `reading from the device: ${failureName(-errno)}`;

/** Sends while it has the device, else waits until it gets it. */
function sending(setup: WorkerSetup): Work {
  const { device, waker } = setup;
  const io = packetIo();
  const memory = pin(POLL_BYTES);
  const sent = new Counters(setup.counters.send);
  const outgoing = openOutgoing(setup, sent);
  const duty = new Duty(setup.duty, "send", () => wake(setup.otherWaker));
  const meter = new Meter(sent);
  const quiet = new Calm();
  const wait = (fd: number, timeoutMs: number): void => {
    if (io.wait(memory, 0, fd, POLL.in, waker, timeoutMs)) calm(waker);
  };
  return {
    run(posted, heard) {
      while (Atomics.load(posted, 0) === heard) {
        if (!duty.isMine) {
          wait(NO_DESCRIPTOR, -1);
          continue;
        }
        const ended = outgoing.step();
        if (ended !== 0 && ended !== ERRNO.EAGAIN) return cannotRead(ended);
        const isCalm = quiet.note(meter.moved(), duty.muchReceived);
        if (ended === 0) continue;
        if (isCalm) duty.give();
        else wait(device, CALM_MS);
      }
      return undefined;
    },
    setPeers: (peers) => outgoing.setPeers(peers),
  };
}

/** Receives; and sends while it has the device. */
function receiving(setup: WorkerSetup): Work {
  const received = new Counters(setup.counters.receive);
  const sent = new Counters(setup.counters.send);
  const incoming = openIncoming(setup, received);
  const outgoing = openOutgoing(setup, sent);
  const duty = new Duty(setup.duty, "receive", () => wake(setup.otherWaker));
  const inMeter = new Meter(received);
  const outMeter = new Meter(sent);
  const pressure = new Pressure();
  const wait = openWait(setup);
  return {
    run(posted, heard) {
      let ready = BOTH;
      while (Atomics.load(posted, 0) === heard) {
        const hasDevice = duty.isMine;
        let more = false;
        if ((ready & SOCKET) !== 0) {
          const ended = incoming.step();
          if (ended === ERRNO.EBADF) return `receiving from the socket: ${failureName(-ended)}`;
          // Another error that was waiting at the socket is gone with its report.
          more = ended === 0;
        }
        const came = inMeter.moved();
        if (came === "much") duty.noteMuchReceived();
        let went: Moved = "nothing";
        // What came may have been answered at once.
        if (hasDevice && ((ready & DEVICE) !== 0 || came !== "nothing")) {
          const ended = outgoing.step();
          if (ended !== 0 && ended !== ERRNO.EAGAIN) return cannotRead(ended);
          more ||= ended === 0;
          went = outMeter.moved();
        }
        if (hasDevice && pressure.note(more || came === "much" || went === "much")) duty.give();
        ready = more ? BOTH : wait(duty.isMine, came, went);
      }
      return undefined;
    },
    setPeers: (peers) => outgoing.setPeers(peers),
  };
}

/** What has something to be read. */
const SOCKET = 1;
const DEVICE = 2;
const BOTH = SOCKET | DEVICE;

/**
 * Waits for the socket and, of who has it, for the device. Returns which of them to look at. What the last round has moved tells
 * whether it is worth looking for a moment before going to sleep.
 */
function openWait({ device, socket, waker }: WorkerSetup) {
  const io = packetIo();
  const deviceAt = POLLFD_BYTES;
  const wakerAt = 2 * POLLFD_BYTES;
  const memory = pin(3 * POLLFD_BYTES);
  setWish(memory, 0, socket, POLL.in);
  setWish(memory, wakerAt, waker, POLL.in);
  const eager = new Eagerness(availableParallelism());
  const look = (): number => {
    const end = performance.now() + LOOK_MS;
    for (;;) {
      const found = io.poll(memory, 0, 3, 0);
      if (found !== 0 || performance.now() >= end) return found;
    }
  };
  return (hasDevice: boolean, came: Moved, went: Moved): number => {
    setWish(memory, deviceAt, hasDevice ? device : NO_DESCRIPTOR, POLL.in);
    const kind = (came === "nothing" ? 0 : SOCKET) | (went === "nothing" ? 0 : DEVICE);
    let found = 0;
    if (hasDevice && kind !== 0 && eager.looks(kind)) eager.learn(kind, (found = look()) !== 0);
    if (found === 0) found = io.poll(memory, 0, 3, -1);
    if (found <= 0) return 0;
    const ready = (isReady(memory, 0) ? SOCKET : 0) | (isReady(memory, deviceAt) ? DEVICE : 0);
    if (!isReady(memory, wakerAt)) return ready;
    calm(waker);
    // It may have got the device just now.
    return ready | DEVICE;
  };
}
