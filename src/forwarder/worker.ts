/**
 * A worker: one direction of the data path in a thread of its own, which blocks in the kernel while there is nothing to
 * move. It can be stopped at any time: its waker ends the wait, and a step of the loop is short.
 */
import { SOCKADDR_BYTES } from "../sys/messages.ts";
import { calm, ERRNO, failureName, type PacketIo, packetIo, POLL, POLL_BYTES } from "../sys/packet-io.ts";
import { type Pinned, pin } from "../sys/pinned.ts";
import { pathPayload, setFragmenting } from "../sys/tunnel-socket.ts";
import { Counters } from "./counters.ts";
import type { PeerTable } from "./peers.ts";
import { Receiver, RECEIVER_BYTES } from "./receiver.ts";
import { type PinnedPeers, Sender, SENDER_BYTES } from "./sender.ts";
import { warmUp } from "./warm-up.ts";
import type { Notice, Request, WorkerSetup } from "./worker-protocol.ts";

/** One direction, bound to its descriptors. */
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

function sending(setup: WorkerSetup): Work {
  const { device, socket, family, waker } = setup;
  const io = packetIo();
  const memory = pin(SENDER_BYTES + POLL_BYTES + 16);
  const pollAt = SENDER_BYTES;
  const answerVector = SENDER_BYTES + POLL_BYTES;
  const counters = new Counters(setup.counters);
  let peers = pinnedPeers(setup.peers);
  const mayAnswer = answerLimit();
  const sender = new Sender(
    memory,
    family === 4 ? 16 : 28,
    {
      read: (place, bytes) => io.read(device, memory, place, bytes),
      send: (messages, count) => io.sendmmsg(socket, memory, messages, count),
      waitForRoom: () => void io.wait(memory, pollAt, socket, POLL.out, -1, ROOM_MS),
      answer(place, bytes) {
        memory.point(answerVector, place);
        memory.view.setInt32(answerVector + 8, bytes, true);
        io.writev(device, memory, answerVector, 1);
      },
      mayAnswer,
      sendFragmented(messages) {
        setFragmenting(socket, family, true);
        const sent = io.sendmmsg(socket, memory, messages, 1);
        setFragmenting(socket, family, false);
        return sent === 1;
      },
      pathBytes: (peer) => pathBytesOf(peers, peer, family),
      now: () => performance.now(),
    },
    setup.own,
    peers,
    counters,
  );
  return {
    run(posted, heard) {
      while (Atomics.load(posted, 0) === heard) {
        const ended = sender.step();
        if (ended === 0) continue;
        if (ended !== ERRNO.EAGAIN) return `reading from the device: ${failureName(-ended)}`;
        if (io.wait(memory, pollAt, device, POLL.in, waker, -1)) calm(waker);
      }
      return undefined;
    },
    setPeers(table) {
      const before = peers;
      peers = pinnedPeers(table);
      sender.setPeers(peers);
      before.addresses[Symbol.dispose]();
    },
  };
}

function receiving(setup: WorkerSetup): Work {
  const { device, socket, waker } = setup;
  const io: PacketIo = packetIo();
  const memory = pin(RECEIVER_BYTES + POLL_BYTES);
  const receiver = new Receiver(
    memory,
    {
      receive: (messages, count) => io.recvmmsg(socket, memory, messages, count),
      write: (vectors, count) => io.writev(device, memory, vectors, count),
    },
    setup.joinsUdp,
    new Counters(setup.counters),
  );
  return {
    run(posted, heard) {
      while (Atomics.load(posted, 0) === heard) {
        const ended = receiver.step();
        if (ended === ERRNO.EBADF) return `receiving from the socket: ${failureName(-ended)}`;
        // An error that was waiting at the socket is gone with its report.
        if (ended !== 0 && io.wait(memory, RECEIVER_BYTES, socket, POLL.in, waker, -1)) calm(waker);
      }
      return undefined;
    },
    setPeers: () => {},
  };
}

/** How long a worker waits for a socket that is full; a batch does so a few times. */
const ROOM_MS = 10;

function pinnedPeers(table: PeerTable): PinnedPeers {
  const addresses: Pinned = pin(table.addresses.length);
  addresses.bytes.set(table.addresses);
  return { table, addresses };
}

function pathBytesOf({ addresses }: PinnedPeers, peer: number, family: 4 | 6): number {
  const at = peer * SOCKADDR_BYTES;
  const address = addresses.bytes.subarray(at, at + (family === 4 ? 16 : 28));
  // The mapped form of an IPv4 address has ones before it.
  const isV4 = family === 4 || addresses.view.getUint16(at + 18) === 0xffff;
  return pathPayload(address, isV4 ? 4 : 6) ?? 0;
}

/** Answers a second, and how many may come at once. */
const ANSWERS = 100;
const BURST = 50;

/** A bucket of answers that fills with time. */
export function answerLimit(now: () => number = () => performance.now()): () => boolean {
  let left = BURST;
  let last = now();
  return () => {
    const time = now();
    left = Math.min(BURST, left + ((time - last) / 1000) * ANSWERS);
    last = time;
    if (left < 1) return false;
    left--;
    return true;
  };
}
