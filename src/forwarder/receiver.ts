/**
 * From the peers to the device: datagrams are received in runs, and neighbouring segments of one flow are given to the
 * kernel as one packet. Only such are joined as it can cut into the very same again; all others go as they came.
 */
import {
  CONTROL_BYTES,
  expectControl,
  IOVEC_BYTES,
  MMSG_BYTES,
  prepareMessage,
  receivedBytes,
  receivedSegmentBytes,
  setVector,
  setVectorCount,
} from "../sys/messages.ts";
import type { Pinned } from "../sys/pinned.ts";
import { fold32, pseudoSum } from "./checksum.ts";
import type { Counters } from "./counters.ts";
import {
  type IpHead,
  newHead,
  readIp,
  replaceIpChecksum,
  TCP,
  TCP_CHECKSUM,
  tcpHeaderBytes,
  UDP,
  UDP_CHECKSUM,
} from "./packet.ts";
import { PARTIAL } from "./sender.ts";
import { GSO, VIRTIO_BYTES, writeVirtio } from "./virtio.ts";

/** Messages that are received at once; each may be a run of datagrams. */
const MESSAGES = 32;
const MESSAGE_BYTES = 65_536;
/** One vector for the device's header, one for the first packet, one for the payload of each further one. */
const MOST_JOINED = 128;
const LONGEST = 65_535;

const CONTROLS_AT = MESSAGES * MMSG_BYTES;
const RECEIVE_VECTORS_AT = CONTROLS_AT + MESSAGES * CONTROL_BYTES;
const VECTORS_AT = RECEIVE_VECTORS_AT + MESSAGES * IOVEC_BYTES;
const HEADER_AT = VECTORS_AT + (MOST_JOINED + 1) * IOVEC_BYTES;
const DATA_AT = HEADER_AT + 16;
/** The memory of a receiver. */
export const RECEIVER_BYTES = DATA_AT + MESSAGES * MESSAGE_BYTES;

/** What a receiver asks of the kernel; the results are those of `PacketIo`. */
export interface ReceiverIo {
  receive(messages: number, count: number): number;
  write(vectors: number, count: number): number;
}

const FIN = 0x01;
const PSH = 0x08;
const ACK = 0x10;
const ECE = 0x40;

export class Receiver {
  readonly #memory: Pinned;
  readonly #view: DataView;
  readonly #io: ReceiverIo;
  readonly #counters: Counters;
  /** The kernel takes several UDP datagrams as one. */
  readonly #joinsUdp: boolean;
  readonly #head: IpHead = newHead();

  /** Where the first packet of what is being joined begins; zero if nothing is. */
  #at = 0;
  #joined = 0;
  #total = 0;
  /** Bytes of headers, and of the IP header alone. */
  #headers = 0;
  #start = 0;
  /** Bytes of payload of each segment but the last. */
  #unit = 0;
  #protocol = 0;
  #family: 4 | 6 = 4;
  /** Nothing more may be added: the last one was shorter, or said so. */
  #isFull = false;
  #lastFlags = 0;

  constructor(memory: Pinned, io: ReceiverIo, joinsUdp: boolean, counters: Counters) {
    this.#memory = memory;
    this.#view = memory.view;
    this.#io = io;
    this.#joinsUdp = joinsUdp;
    this.#counters = counters;
    for (let i = 0; i < MESSAGES; i++) {
      const vector = RECEIVE_VECTORS_AT + i * IOVEC_BYTES;
      setVector(memory, vector, DATA_AT + i * MESSAGE_BYTES, MESSAGE_BYTES);
      prepareMessage(memory, i * MMSG_BYTES, vector, CONTROLS_AT + i * CONTROL_BYTES);
      setVectorCount(memory, i * MMSG_BYTES, 1);
      expectControl(memory, i * MMSG_BYTES);
    }
  }

  /** Moves what there is, up to a bound. Returns zero if there may be more, else why there is not (an error number). */
  step(): number {
    const got = this.#io.receive(0, MESSAGES);
    this.#counters.add("calls", 1);
    if (got < 0) return -got;
    for (let i = 0; i < got; i++) {
      const message = i * MMSG_BYTES;
      const control = CONTROLS_AT + i * CONTROL_BYTES;
      this.takeRun(
        DATA_AT + i * MESSAGE_BYTES,
        receivedBytes(this.#memory, message),
        receivedSegmentBytes(this.#memory, message, control),
      );
      expectControl(this.#memory, message);
    }
    this.flush();
    return got < MESSAGES ? NOTHING_MORE : 0;
  }

  /** Takes what lies from `place`: one datagram, or several of `unit` bytes of which the last may be shorter. */
  takeRun(place: number, bytes: number, unit: number): void {
    const size = unit > 0 ? unit : bytes;
    for (let from = 0; from < bytes; from += size)
      this.#take(place + from, bytes - from < size ? bytes - from : size);
    if (unit > 0 && unit < bytes) this.#counters.add("segments", Math.ceil(bytes / unit));
    if (bytes === 0) this.#counters.add("dropMalformed", 1);
  }

  #take(at: number, bytes: number): void {
    const view = this.#view;
    const first = view.getUint8(at);
    const isPartial = first >= PARTIAL;
    if (isPartial) view.setUint8(at, first & ~PARTIAL);
    const head = this.#head;
    if (!readIp(view, at, bytes, head)) return this.#counters.add("dropMalformed", 1);
    this.#counters.add("packets", 1);
    this.#counters.add("bytes", head.totalBytes);
    if (!isPartial) {
      this.flush();
      return this.#writeAsItIs(at, head.totalBytes);
    }
    const headers = this.#headersOf(at, head);
    if (headers === 0) return this.#counters.add("dropMalformed", 1);
    if (this.#at !== 0 && this.#continues(at, head, headers)) return this.#append(at, head, headers);
    this.flush();
    this.#begin(at, head, headers);
  }

  /** Bytes of all headers of a packet whose checksum is left to us; zero if it has none that we know. */
  #headersOf(at: number, head: IpHead): number {
    if (head.isFragment) return 0;
    const rest = head.totalBytes - head.headerBytes;
    if (head.protocol === UDP)
      return rest >= 8 && this.#view.getUint16(at + head.headerBytes + 4) === rest ? head.headerBytes + 8 : 0;
    if (head.protocol !== TCP) return 0;
    const transport = tcpHeaderBytes(this.#view, at + head.headerBytes, rest);
    return transport === 0 ? 0 : head.headerBytes + transport;
  }

  #begin(at: number, head: IpHead, headers: number): void {
    const isTcp = head.protocol === TCP;
    this.#at = at;
    this.#joined = 1;
    this.#total = head.totalBytes;
    this.#headers = headers;
    this.#start = head.headerBytes;
    this.#unit = head.totalBytes - headers;
    this.#protocol = head.protocol;
    this.#family = head.family;
    const flags = isTcp ? this.#view.getUint8(at + head.headerBytes + 13) : ACK;
    this.#lastFlags = flags;
    // Only what a segment of a running stream has: SYN, RST, URG and a reduced window stand alone, FIN and PSH end.
    this.#isFull = this.#unit === 0 || (flags & ~ECE) !== ACK || (!isTcp && !this.#joinsUdp);
    setVector(this.#memory, VECTORS_AT + IOVEC_BYTES, at, head.totalBytes);
  }

  /** Whether the kernel would cut this very packet from behind what is joined so far. */
  #continues(at: number, head: IpHead, headers: number): boolean {
    const payload = head.totalBytes - headers;
    return (
      !this.#isFull &&
      headers === this.#headers &&
      head.headerBytes === this.#start &&
      head.family === this.#family &&
      head.protocol === this.#protocol &&
      payload > 0 &&
      payload <= this.#unit &&
      this.#joined < MOST_JOINED &&
      this.#total + payload <= LONGEST &&
      (head.family === 4 ? this.#sameIp4(at) : this.#sameIp6(at)) &&
      (head.protocol === TCP ? this.#sameTcp(at + this.#start) : this.#sameUdp(at + this.#start))
    );
  }

  #sameIp4(at: number): boolean {
    const view = this.#view;
    const first = this.#at;
    return (
      view.getUint16(at) === view.getUint16(first) &&
      view.getUint16(at + 4) === ((view.getUint16(first + 4) + this.#joined) & 0xffff) &&
      view.getUint16(at + 6) === view.getUint16(first + 6) &&
      view.getUint16(at + 8) === view.getUint16(first + 8) &&
      this.#sameWords(at + 12, first + 12, this.#start - 12) &&
      this.#headerSum(at) === this.#headerSum(first)
    );
  }

  /** With all else alike, checksum, length and identification of two headers that are both right sum to the same. */
  #headerSum(at: number): number {
    const view = this.#view;
    const sum = fold32(view.getUint16(at + 2) + view.getUint16(at + 4) + view.getUint16(at + 10));
    return sum === 0xffff ? 0 : sum;
  }

  #sameIp6(at: number): boolean {
    const view = this.#view;
    const first = this.#at;
    return (
      view.getInt32(at) === view.getInt32(first) &&
      view.getUint16(at + 6) === view.getUint16(first + 6) &&
      this.#sameWords(at + 8, first + 8, 32)
    );
  }

  #sameTcp(at: number): boolean {
    const view = this.#view;
    const first = this.#at + this.#start;
    return (
      view.getInt32(at) === view.getInt32(first) &&
      view.getInt32(at + 4) === ((view.getInt32(first + 4) + this.#joined * this.#unit) | 0) &&
      view.getInt32(at + 8) === view.getInt32(first + 8) &&
      view.getUint8(at + 12) === view.getUint8(first + 12) &&
      // The first has none of these two, or nothing would be added to it.
      (view.getUint8(at + 13) & ~(FIN | PSH)) === view.getUint8(first + 13) &&
      view.getUint16(at + 14) === view.getUint16(first + 14) &&
      view.getUint16(at + 18) === view.getUint16(first + 18) &&
      this.#sameWords(at + 20, first + 20, this.#headers - this.#start - 20)
    );
  }

  #sameUdp(at: number): boolean {
    return this.#view.getInt32(at) === this.#view.getInt32(this.#at + this.#start);
  }

  /** Compares a number of bytes that is a multiple of four. */
  #sameWords(a: number, b: number, bytes: number): boolean {
    for (let i = 0; i < bytes; i += 4)
      if (this.#view.getInt32(a + i) !== this.#view.getInt32(b + i)) return false;
    return true;
  }

  #append(at: number, head: IpHead, headers: number): void {
    const payload = head.totalBytes - headers;
    this.#joined++;
    this.#total += payload;
    setVector(this.#memory, VECTORS_AT + this.#joined * IOVEC_BYTES, at + headers, payload);
    if (head.protocol === TCP) this.#lastFlags = this.#view.getUint8(at + this.#start + 13);
    this.#isFull = payload < this.#unit || (this.#lastFlags & (FIN | PSH)) !== 0;
  }

  /** Gives the kernel what was joined so far. */
  flush(): void {
    if (this.#at === 0) return;
    const view = this.#view;
    const at = this.#at;
    const isTcp = this.#protocol === TCP;
    const field = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    const start = this.#start;
    if (this.#joined > 1) this.#patchFirst();
    const addressBytes = this.#family === 4 ? 4 : 16;
    const addresses = at + (this.#family === 4 ? 12 : 8);
    const sum = pseudoSum(view, addresses, addressBytes, this.#protocol, this.#total - start);
    view.setUint16(at + start + field, sum);
    const tcp = this.#family === 4 ? GSO.tcp4 : GSO.tcp6;
    const type = this.#joined === 1 ? GSO.none : isTcp ? tcp : GSO.udp;
    const unit = this.#joined === 1 ? 0 : this.#unit;
    writeVirtio(view, HEADER_AT, type, this.#headers, unit, start, field);
    this.#write(this.#joined + 1, this.#joined);
    if (this.#joined > 1) this.#counters.add("segments", this.#joined);
    this.#at = 0;
  }

  /** Makes of the first packet's headers those of all together. */
  #patchFirst(): void {
    const view = this.#view;
    const at = this.#at;
    if (this.#family === 4) {
      const before = view.getUint16(at + 2);
      view.setUint16(at + 2, this.#total);
      // From the old one: a wrong checksum stays wrong.
      replaceIpChecksum(view, at, before, this.#total);
    } else view.setUint16(at + 4, this.#total - 40);
    if (this.#protocol === TCP) view.setUint8(at + this.#start + 13, this.#lastFlags);
    else view.setUint16(at + this.#start + 4, this.#total - this.#start);
  }

  #writeAsItIs(at: number, bytes: number): void {
    writeVirtio(this.#view, HEADER_AT, GSO.none, 0, 0, 0, 0);
    setVector(this.#memory, VECTORS_AT + IOVEC_BYTES, at, bytes);
    this.#write(2, 1);
  }

  #write(vectors: number, packets: number): void {
    setVector(this.#memory, VECTORS_AT, HEADER_AT, VIRTIO_BYTES);
    this.#counters.add("calls", 1);
    if (this.#io.write(VECTORS_AT, vectors) < 0) this.#counters.add("dropRefused", packets);
  }
}

/** EAGAIN: fewer came than there was room for. */
const NOTHING_MORE = 11;
