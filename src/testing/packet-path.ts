/**
 * A sender and a receiver of the user-space data path without a device and without a socket: packets go in, and what the
 * kernel would be given is read back out of their memory.
 */
import { Counters, COUNTER_BYTES } from "../forwarder/counters.ts";
import { type Peer, peerTable } from "../forwarder/peers.ts";
import { Receiver, RECEIVER_BYTES } from "../forwarder/receiver.ts";
import { type OwnAddresses, Sender, SENDER_BYTES, type SenderIo } from "../forwarder/sender.ts";
import { IOVEC_BYTES, MMSG_BYTES, SOCKADDR_BYTES } from "../sys/messages.ts";
import { type Pinned, pin } from "../sys/pinned.ts";

/** One datagram as it would go over the underlay. */
export interface SentDatagram {
  readonly peer: number;
  readonly bytes: Uint8Array;
}

const EAGAIN = 11;

/** The bytes that a list of vectors points to; throws if one leaves the memory. */
function gather(memory: Pinned, vectors: number, count: number): Uint8Array {
  const parts = Array.from({ length: count }, (_, i) => {
    const at = vectors + i * IOVEC_BYTES;
    const place = memory.placeOf(memory, at);
    const bytes = Number(memory.view.getBigUint64(at + 8, true));
    if (place < 0 || place + bytes > memory.bytes.length) throw new RangeError(`vector ${place}+${bytes}`);
    return memory.bytes.slice(place, place + bytes);
  });
  return Uint8Array.from(Buffer.concat(parts));
}

/** Takes a message of sendmmsg apart, as the kernel cuts it. */
function datagramsOf(memory: Pinned, addresses: Pinned, at: number): readonly SentDatagram[] {
  const { view } = memory;
  const bytes = gather(memory, memory.placeOf(memory, at + 16), Number(view.getBigUint64(at + 24, true)));
  const peer = addresses.placeOf(memory, at) / SOCKADDR_BYTES;
  const control = memory.placeOf(memory, at + 32);
  const unit = view.getUint32(at + 40, true) === 0 ? bytes.length : view.getUint16(control + 16, true);
  const count = Math.ceil(bytes.length / unit);
  if (count > 64 || bytes.length > 65_507) throw new RangeError(`${count} datagrams, ${bytes.length} bytes`);
  return Array.from({ length: count }, (_, i) => ({ peer, bytes: bytes.slice(i * unit, (i + 1) * unit) }));
}

export interface SenderStage {
  readonly sender: Sender;
  readonly counters: Counters;
  /** Messages as they were given to the kernel, each a run of datagrams. */
  readonly runs: (readonly SentDatagram[])[];
  readonly answers: Uint8Array[];
  /** Sends packets, each with its header before it, in one step or more. */
  send(...packets: readonly Uint8Array[]): readonly SentDatagram[];
}

export interface StageOptions {
  readonly own?: OwnAddresses;
  /** The result of sending a message of so many datagrams, of which the longest has so many bytes; 1 is success. */
  readonly result?: (datagrams: number, bytes: number) => number;
  readonly io?: Partial<SenderIo>;
}

export function senderStage(peers: readonly Peer[], options: StageOptions = {}): SenderStage {
  const memory = pin(SENDER_BYTES);
  const table = peerTable(peers, 4);
  const addresses = pin(table.addresses.length);
  addresses.bytes.set(table.addresses);
  const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
  const queue: Uint8Array[] = [];
  const runs: (readonly SentDatagram[])[] = [];
  const answers: Uint8Array[] = [];
  const io: SenderIo = {
    read(place, room) {
      const next = queue.shift();
      if (next === undefined) return -EAGAIN;
      if (next.length > room) throw new RangeError(`${next.length} bytes into ${room}`);
      memory.bytes.set(next, place);
      return next.length;
    },
    send(messages, count) {
      for (let i = 0; i < count; i++) {
        const run = datagramsOf(memory, addresses, messages + i * MMSG_BYTES);
        const result = options.result?.(run.length, Math.max(...run.map(({ bytes }) => bytes.length))) ?? 1;
        if (result < 0) return i === 0 ? result : i;
        runs.push(run);
      }
      return count;
    },
    waitForRoom: () => {},
    answer: (place, bytes) => void answers.push(memory.bytes.slice(place, place + bytes)),
    mayAnswer: () => true,
    sendFragmented: () => false,
    pathBytes: () => 0,
    now: () => 0,
    ...options.io,
  };
  const sender = new Sender(memory, 16, io, options.own ?? {}, { table, addresses }, counters);
  return {
    sender,
    counters,
    runs,
    answers,
    send(...packets) {
      runs.length = 0;
      queue.push(...packets);
      while (sender.step() === 0 || queue.length > 0);
      return runs.flat();
    },
  };
}

export interface ReceiverStage {
  readonly counters: Counters;
  /** Gives it runs of datagrams, as one call would; what it writes to the device, each with its header before it. */
  receive(...runs: readonly { readonly bytes: Uint8Array; readonly unit: number }[]): readonly Uint8Array[];
}

export function receiverStage(joinsUdp = true): ReceiverStage {
  const memory = pin(RECEIVER_BYTES);
  const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
  const written: Uint8Array[] = [];
  let waiting: readonly { readonly bytes: Uint8Array; readonly unit: number }[] = [];
  const io = {
    receive(messages: number, count: number): number {
      const now = waiting.slice(0, count);
      waiting = waiting.slice(count);
      now.forEach(({ bytes, unit }, i) => {
        const at = messages + i * MMSG_BYTES;
        memory.bytes.set(bytes, memory.placeOf(memory, memory.placeOf(memory, at + 16)));
        memory.view.setInt32(at + 56, bytes.length, true);
        const control = memory.placeOf(memory, at + 32);
        memory.view.setInt32(at + 40, unit === 0 ? 0 : 24, true);
        memory.view.setInt32(control + 8, 17, true);
        memory.view.setInt32(control + 12, 104, true);
        memory.view.setInt32(control + 16, unit, true);
      });
      return now.length === 0 ? -EAGAIN : now.length;
    },
    write(vectors: number, count: number): number {
      const bytes = gather(memory, vectors, count);
      written.push(bytes);
      return bytes.length;
    },
  };
  const receiver = new Receiver(memory, io, joinsUdp, counters);
  return {
    counters,
    receive(...runs) {
      written.length = 0;
      waiting = runs;
      while (waiting.length > 0) receiver.step();
      return [...written];
    },
  };
}

/** Datagrams as the kernel puts neighbours of one size together for a receiver. */
export function runsOf(
  datagrams: readonly Uint8Array[],
): readonly { readonly bytes: Uint8Array; readonly unit: number }[] {
  const runs: { bytes: Uint8Array; unit: number; open: boolean }[] = [];
  for (const datagram of datagrams) {
    const last = runs.at(-1);
    if (last?.open && datagram.length <= last.unit && last.bytes.length + datagram.length < 65_000) {
      last.bytes = Uint8Array.from(Buffer.concat([last.bytes, datagram]));
      last.open = datagram.length === last.unit;
    } else runs.push({ bytes: datagram, unit: datagram.length, open: true });
  }
  return runs;
}
