/**
 * A moment of work for nobody, before the first packet: the engine compiles what it has seen often, and a loop that it
 * still interprets takes three times as long for a packet. A successor does this while its predecessor still carries.
 */
import { hostPrefix, ipFromBytes } from "../net/ip.ts";
import { pin } from "../sys/pinned.ts";
import { COUNTER_BYTES, Counters } from "./counters.ts";
import { peerTable } from "./peers.ts";
import { Receiver, RECEIVER_BYTES } from "./receiver.ts";
import { PARTIAL, Sender, SENDER_BYTES, type SenderIo } from "./sender.ts";
import { AT, GSO, NEEDS_CHECKSUM, VIRTIO_BYTES } from "./virtio.ts";
import type { Direction } from "./worker-protocol.ts";

/** How long it takes, in milliseconds: then most of it is compiled. */
const WARM_MS = 40;
const HEADERS = 40;
const SEGMENT = 1000;
const SEGMENTS = 20;
const EAGAIN = 11;

/** Who receives may have to send as well. */
export function warmUp(direction: Direction): void {
  const end = performance.now() + WARM_MS;
  using stack = new DisposableStack();
  const works = direction === "send" ? [sending(stack)] : [sending(stack), receiving(stack)];
  while (performance.now() < end) for (const work of works) work();
}

/** Small packets by turns with large ones, to a Heddle peer and to a plain one. */
function sending(stack: DisposableStack): () => void {
  const memory = stack.use(pin(SENDER_BYTES));
  const peers = [1, 2].map((n) => {
    const ip = ipFromBytes(Uint8Array.of(192, 0, 2, n));
    return { id: String(n), subnets: [hostPrefix(ip)], ip, port: 1, heddle: n === 1 };
  });
  const table = peerTable(peers, 4);
  const addresses = stack.use(pin(table.addresses.length));
  const ends = [1, 2].flatMap((n) => [packetTo(n, SEGMENT * SEGMENTS), packetTo(n, 60)]);
  let next = 0;
  let left = 0;
  const io: SenderIo = {
    read(place) {
      if (left-- <= 0) return -EAGAIN;
      const packet = ends[next++ % ends.length] ?? new Uint8Array(0);
      memory.bytes.set(packet, place);
      return packet.length;
    },
    send: (_messages, count) => count,
    waitForRoom: () => {},
    answer: () => {},
    mayAnswer: () => false,
    sendFragmented: () => false,
    pathBytes: () => 0,
    now: () => 0,
  };
  const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
  const sender = new Sender(memory, 16, io, {}, { table, addresses }, counters);
  return () => {
    left = 1 + (next % 3);
    sender.step();
  };
}

/** Runs of segments that belong together. */
function receiving(stack: DisposableStack): () => void {
  const memory = stack.use(pin(RECEIVER_BYTES));
  const headers = packetTo(1, SEGMENT).subarray(VIRTIO_BYTES, VIRTIO_BYTES + HEADERS);
  const counters = new Counters(new ArrayBuffer(COUNTER_BYTES));
  const io = { receive: () => -EAGAIN, write: (_vectors: number, count: number) => count };
  const receiver = new Receiver(memory, io, true, counters);
  const place = RECEIVER_BYTES - 65_536;
  const unit = HEADERS + SEGMENT;
  return () => {
    for (let i = 0; i < SEGMENTS; i++) {
      const at = place + i * unit;
      memory.bytes.set(headers, at);
      memory.view.setUint8(at, 0x45 | PARTIAL);
      memory.view.setUint16(at + 4, i);
      // Length, identification and sum together stay what they are.
      memory.view.setUint16(at + 10, 0xffff - i);
      memory.view.setUint32(at + 24, i * SEGMENT);
    }
    receiver.takeRun(place, SEGMENTS * unit, unit);
    receiver.takeRun(place, unit, 0);
    receiver.flush();
  };
}

/** A packet of TCP to a peer as the device gives it, its sum undone. */
function packetTo(peer: number, payload: number): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_BYTES + HEADERS + payload);
  const view = new DataView(bytes.buffer);
  view.setUint8(AT.flags, NEEDS_CHECKSUM);
  view.setUint8(AT.gsoType, payload > SEGMENT ? GSO.tcp4 : GSO.none);
  view.setUint16(AT.headerBytes, HEADERS, true);
  view.setUint16(AT.gsoSize, payload > SEGMENT ? SEGMENT : 0, true);
  view.setUint16(AT.checksumStart, 20, true);
  view.setUint16(AT.checksumOffset, 16, true);
  bytes.set([0x45, 0], VIRTIO_BYTES);
  view.setUint16(VIRTIO_BYTES + 2, HEADERS + payload);
  bytes.set([0x40, 0, 64, 6, 0, 0, 192, 0, 2, 9, 192, 0, 2, peer], VIRTIO_BYTES + 6);
  bytes.set([0x50, 0x10], VIRTIO_BYTES + 32);
  return bytes;
}
