/**
 * Datagrams on their way to the underlay: neighbours of one size for one peer become one message, which the kernel cuts
 * (UDP_SEGMENT), and all messages are sent by one call. Where the kernel or the path refuses a message as a whole, its
 * datagrams go one by one.
 */
import {
  CONTROL_BYTES,
  IOVEC_BYTES,
  MMSG_BYTES,
  prepareMessage,
  setReceiver,
  setSegments,
  setVector,
  setVectorCount,
  SOCKADDR_BYTES,
} from "../sys/messages.ts";
import { ERRNO } from "../sys/packet-io.ts";
import type { Pinned } from "../sys/pinned.ts";
import type { Counters } from "./counters.ts";

const DATAGRAMS = 256;
const MESSAGES = 64;
/** UDP_MAX_SEGMENTS of kernels before 6.9. */
const SEGMENTS = 64;
/** The payload of the longest IPv4 datagram. */
const MESSAGE_BYTES = 65_507;
/** One more than `MESSAGES`: the last one is for datagrams that go alone. */
const CONTROLS_AT = (MESSAGES + 1) * MMSG_BYTES;
const VECTORS_AT = CONTROLS_AT + (MESSAGES + 1) * CONTROL_BYTES;
const ALONE_AT = MESSAGES * MMSG_BYTES;

export const BATCH_BYTES = VECTORS_AT + DATAGRAMS * 2 * IOVEC_BYTES;

/** What a batch asks for; the results are those of `PacketIo`. */
export interface Outlet {
  send(messages: number, count: number): number;
  /** Waits until something can be sent again, for a moment. */
  waitForRoom(): void;
  /**
   * A datagram is larger than the path to its peer takes; its packet begins at `place`, with at least the IP header and
   * eight bytes. True if it was sent in spite of that.
   */
  tooBig(messages: number, peer: number, place: number): boolean;
}

export class Batch {
  readonly #memory: Pinned;
  readonly #at: number;
  readonly #outlet: Outlet;
  readonly #counters: Counters;
  readonly #addressBytes: number;
  #addresses: Pinned;
  /** False once the kernel has said that it cuts nothing for this socket. */
  #segmenting = true;
  #datagrams = 0;
  #vectors = 0;
  #messages = 0;
  /** Of each message. */
  readonly #peers = new Int32Array(MESSAGES);
  readonly #units = new Int32Array(MESSAGES);
  readonly #counts = new Int32Array(MESSAGES);
  readonly #bytes = new Int32Array(MESSAGES);
  readonly #firstVectors = new Int32Array(MESSAGES);
  readonly #firstDatagrams = new Int32Array(MESSAGES);
  /** Vectors of each datagram. */
  readonly #spans = new Uint8Array(DATAGRAMS);
  /** The last message may get another datagram. */
  #open = false;

  /** `at` is where its `BATCH_BYTES` begin; addresses of the socket's family have `addressBytes`. */
  constructor(memory: Pinned, at: number, addressBytes: number, outlet: Outlet, counters: Counters) {
    this.#memory = memory;
    this.#addresses = memory;
    this.#at = at;
    this.#addressBytes = addressBytes;
    this.#outlet = outlet;
    this.#counters = counters;
    for (let i = 0; i <= MESSAGES; i++)
      prepareMessage(memory, at + i * MMSG_BYTES, at + VECTORS_AT, this.#controlOf(i));
  }

  #controlOf(message: number): number {
    return this.#at + CONTROLS_AT + message * CONTROL_BYTES;
  }

  /** The table of peers' addresses; only while nothing waits to be sent. */
  setAddresses(addresses: Pinned): void {
    this.#addresses = addresses;
  }

  /** How many datagrams wait: also the number of the next one. */
  get waiting(): number {
    return this.#datagrams;
  }

  get hasRoom(): boolean {
    return this.#datagrams < DATAGRAMS && this.#messages < MESSAGES;
  }

  /** A datagram of one piece. Only while there is room. */
  addWhole(peer: number, place: number, bytes: number): void {
    this.#vector(place, bytes);
    this.#spans[this.#datagrams] = 1;
    this.#append(peer, bytes);
  }

  /** A datagram of headers and payload that lie apart. Only while there is room. */
  addParts(peer: number, head: number, headBytes: number, payload: number, payloadBytes: number): void {
    this.#vector(head, headBytes);
    this.#vector(payload, payloadBytes);
    this.#spans[this.#datagrams] = 2;
    this.#append(peer, headBytes + payloadBytes);
  }

  #vector(place: number, bytes: number): void {
    setVector(this.#memory, this.#at + VECTORS_AT + this.#vectors++ * IOVEC_BYTES, place, bytes);
  }

  #append(peer: number, bytes: number): void {
    const last = this.#messages - 1;
    const datagram = this.#datagrams++;
    if (this.#open && this.#fits(last, peer, bytes)) {
      this.#counts[last] = (this.#counts[last] ?? 0) + 1;
      this.#bytes[last] = (this.#bytes[last] ?? 0) + bytes;
      this.#open = bytes === this.#units[last];
      return;
    }
    const message = this.#messages++;
    this.#peers[message] = peer;
    this.#units[message] = bytes;
    this.#counts[message] = 1;
    this.#bytes[message] = bytes;
    this.#firstVectors[message] = this.#vectors - (this.#spans[datagram] ?? 0);
    this.#firstDatagrams[message] = datagram;
    this.#open = this.#segmenting;
  }

  #fits(last: number, peer: number, bytes: number): boolean {
    return (
      this.#peers[last] === peer &&
      bytes <= (this.#units[last] ?? 0) &&
      (this.#counts[last] ?? 0) < SEGMENTS &&
      (this.#bytes[last] ?? 0) + bytes <= MESSAGE_BYTES
    );
  }

  /** Sends all that waits. What cannot be sent is counted and gone. */
  flush(): void {
    if (this.#messages === 0) return;
    for (let i = 0; i < this.#messages; i++) this.#prepare(i);
    let first = 0;
    let patience = PATIENCE;
    while (first < this.#messages) {
      const sent = this.#send(this.#at + first * MMSG_BYTES, this.#messages - first);
      if (sent > 0) {
        first += sent;
      } else if (-sent === ERRNO.EAGAIN && patience-- > 0) {
        this.#outlet.waitForRoom();
      } else {
        this.#refused(first, -sent);
        first++;
      }
    }
    this.#messages = 0;
    this.#datagrams = 0;
    this.#vectors = 0;
    this.#open = false;
  }

  #send(messages: number, count: number): number {
    this.#counters.add("calls", 1);
    return this.#outlet.send(messages, count);
  }

  #prepare(i: number): void {
    const vectors = this.#firstVectors[i] ?? 0;
    const end = i + 1 < this.#messages ? (this.#firstVectors[i + 1] ?? 0) : this.#vectors;
    const count = this.#counts[i] ?? 0;
    this.#address(this.#at + i * MMSG_BYTES, i, i, vectors, end - vectors);
    setSegments(
      this.#memory,
      this.#at + i * MMSG_BYTES,
      this.#controlOf(i),
      count > 1 ? (this.#units[i] ?? 0) : 0,
    );
    if (count > 1) this.#counters.add("segments", count);
  }

  /** Makes the structure at `at` go to the peer of `message` with some of the vectors. */
  #address(at: number, control: number, message: number, vectors: number, count: number): void {
    const place = (this.#peers[message] ?? 0) * SOCKADDR_BYTES;
    setReceiver(this.#memory, at, this.#addresses, place, this.#addressBytes);
    const first = this.#at + VECTORS_AT + vectors * IOVEC_BYTES;
    prepareMessage(this.#memory, at, first, this.#controlOf(control));
    setVectorCount(this.#memory, at, count);
  }

  #refused(message: number, errno: number): void {
    const count = this.#counts[message] ?? 0;
    if (errno === ERRNO.EAGAIN) {
      this.#counters.add("dropCongested", count);
    } else if (count > 1 && REFUSES_SEGMENTS.has(errno)) {
      // A device that computes no checksums, before 6.11: it stays so.
      if (errno === ERRNO.EIO || errno === ERRNO.EOPNOTSUPP) this.#segmenting = false;
      this.#sendApart(message);
    } else if (count > 1 || errno !== ERRNO.EMSGSIZE) {
      this.#counters.add("dropRefused", count);
    } else {
      this.#tooBig(this.#at + message * MMSG_BYTES, message, this.#firstVectors[message] ?? 0);
    }
  }

  /** Each datagram of a message by a call of its own. */
  #sendApart(message: number): void {
    const first = this.#firstDatagrams[message] ?? 0;
    const alone = this.#at + ALONE_AT;
    let vectors = this.#firstVectors[message] ?? 0;
    setSegments(this.#memory, alone, this.#controlOf(MESSAGES), 0);
    for (let i = 0; i < (this.#counts[message] ?? 0); i++) {
      const span = this.#spans[first + i] ?? 0;
      this.#address(alone, MESSAGES, message, vectors, span);
      let sent = this.#send(alone, 1);
      for (let patience = PATIENCE; -sent === ERRNO.EAGAIN && patience > 0; patience--) {
        this.#outlet.waitForRoom();
        sent = this.#send(alone, 1);
      }
      if (-sent === ERRNO.EMSGSIZE) this.#tooBig(alone, message, vectors);
      else if (sent < 0) this.#counters.add(-sent === ERRNO.EAGAIN ? "dropCongested" : "dropRefused", 1);
      vectors += span;
    }
  }

  #tooBig(at: number, message: number, vectors: number): void {
    const place = this.#memory.placeOf(this.#memory, this.#at + VECTORS_AT + vectors * IOVEC_BYTES);
    if (!this.#outlet.tooBig(at, this.#peers[message] ?? 0, place)) this.#counters.add("dropTooBig", 1);
  }
}

/** How often a batch waits for room in the socket; each wait has its own bound. */
const PATIENCE = 8;
const REFUSES_SEGMENTS: ReadonlySet<number> = new Set([
  ERRNO.EIO,
  ERRNO.EINVAL,
  ERRNO.EMSGSIZE,
  ERRNO.EOPNOTSUPP,
]);
