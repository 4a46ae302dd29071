/**
 * From the device to the peers: packets are read with what the kernel left to do, looked up, cut where they are several
 * segments in one, and sent. Between Heddle forwarders the checksum of TCP and UDP stays undone: the first bit of such a
 * datagram is set, which no IP packet has, and the far end asks its kernel for it. Every other peer gets what a wire would.
 */
import type { Pinned } from "../sys/pinned.ts";
import { Batch, BATCH_BYTES, type Outlet } from "./batch.ts";
import { fold32, sumOf } from "./checksum.ts";
import type { Counters } from "./counters.ts";
import { ANSWER_BYTES, isAnswered, type Reason, writeAnswer } from "./icmp.ts";
import {
  decrementHops,
  type IpHead,
  newHead,
  readIp,
  TCP,
  TCP_CHECKSUM,
  tcpHeaderBytes,
  UDP,
  UDP_CHECKSUM,
} from "./packet.ts";
import { findPeer4, findPeer6, type PeerTable } from "./peers.ts";
import { AT, GSO, GSO_ECN, NEEDS_CHECKSUM, VIRTIO_BYTES } from "./virtio.ts";

/** Set in the first byte of a datagram whose checksum is left to its receiver. */
export const PARTIAL = 0x80;
/** A header and the longest packet, at a place from which the packet is aligned. */
const READ_BYTES = 65_552;
const READS_BYTES = 4 * READ_BYTES;
/** Headers of a segment: IPv4 with options and TCP with options have 120 bytes. */
const HEADERS_BYTES = 128;
const HEADERS = 256;
const BATCH_AT = 0;
const HEADERS_AT = BATCH_AT + BATCH_BYTES;
const ANSWER_AT = HEADERS_AT + HEADERS * HEADERS_BYTES;
const READS_AT = ANSWER_AT + Math.ceil((VIRTIO_BYTES + ANSWER_BYTES) / 64) * 64;
/** The memory of a sender. */
export const SENDER_BYTES = READS_AT + READS_BYTES;

/** What a sender asks of the kernel; the results are those of `PacketIo`. */
export interface SenderIo {
  /** The next packet of the device with its header, or a negative error number. */
  read(place: number, bytes: number): number;
  send(messages: number, count: number): number;
  waitForRoom(): void;
  /** Gives a packet with its header to the device. */
  answer(place: number, bytes: number): void;
  /** Whether another answer may be given now: they are bounded in time. */
  mayAnswer(): boolean;
  /** Sends a message whose datagram may be cut on its way; false if that failed. */
  sendFragmented(messages: number): boolean;
  /** What the path to an address takes, in bytes of a packet of ours; zero if that is not known. */
  pathBytes(peer: number): number;
  /** Milliseconds of a clock that only goes forward. */
  now(): number;
}

/** Our own addresses on the device, from which answers come; none without one. */
export interface OwnAddresses {
  readonly v4?: Uint8Array;
  readonly v6?: Uint8Array;
}

/** A peer's table with the memory that the kernel reads its addresses from. */
export interface PinnedPeers {
  readonly table: PeerTable;
  readonly addresses: Pinned;
}

export class Sender {
  readonly #memory: Pinned;
  readonly #view: DataView;
  readonly #io: SenderIo;
  readonly #own: OwnAddresses;
  readonly #counters: Counters;
  readonly #batch: Batch;
  readonly #head: IpHead = newHead();
  /** What an answer is about: it may be another packet than the one in hand. */
  readonly #answerHead: IpHead = newHead();
  #table: PeerTable;
  /** What the path to each peer takes, in bytes, once it was less than a packet. */
  #limits: Uint16Array;
  /** When that was learned, in milliseconds. */
  #learned: Float64Array;

  /** @param addressBytes length of a peer's address as the socket's family has it */
  constructor(
    memory: Pinned,
    addressBytes: number,
    io: SenderIo,
    own: OwnAddresses,
    peers: PinnedPeers,
    counters: Counters,
  ) {
    this.#memory = memory;
    this.#view = memory.view;
    this.#io = io;
    this.#own = own;
    this.#counters = counters;
    const outlet: Outlet = {
      send: (messages, count) => io.send(messages, count),
      waitForRoom: () => io.waitForRoom(),
      tooBig: (messages, peer, place) => this.#datagramTooBig(messages, peer, place),
    };
    this.#batch = new Batch(memory, BATCH_AT, addressBytes, outlet, counters);
    this.#table = peers.table;
    this.#limits = new Uint16Array(0);
    this.#learned = new Float64Array(0);
    this.setPeers(peers);
  }

  /** Between two steps. What was learned of paths is learned anew. */
  setPeers({ table, addresses }: PinnedPeers): void {
    this.#table = table;
    this.#limits = new Uint16Array(table.heddle.length);
    this.#learned = new Float64Array(table.heddle.length);
    this.#batch.setAddresses(addresses);
  }

  /** Moves what there is, up to a bound. Returns zero if there may be more, else why reading ended (an error number). */
  step(): number {
    let place = READS_AT + 2;
    let ended = 0;
    while (place + READ_BYTES <= SENDER_BYTES && this.#batch.hasRoom) {
      const got = this.#io.read(place, READ_BYTES - 2);
      this.#counters.add("calls", 1);
      if (got < 0) {
        ended = -got;
        break;
      }
      this.take(place, got);
      // The next packet begins at a multiple of four too.
      place += (got + 3) & ~3;
    }
    this.#batch.flush();
    return ended;
  }

  /** Sends one packet, or says why not. The memory from `place` has a header and a packet, of `bytes` in all. */
  take(place: number, bytes: number): void {
    const at = place + VIRTIO_BYTES;
    const head = this.#head;
    if (!readIp(this.#view, at, bytes - VIRTIO_BYTES, head)) return this.#counters.add("dropMalformed", 1);
    const peer =
      head.family === 4
        ? findPeer4(this.#table.v4, this.#view, at + 16)
        : findPeer6(this.#table.v6, this.#view, at + 24);
    if (peer < 0) return this.#unknown(at, head);
    if (head.hops <= 1) {
      this.#counters.add("dropExpired", 1);
      return this.#answer("expired", at, head, 0);
    }
    decrementHops(this.#view, at, head.family);
    this.#counters.add("packets", 1);
    this.#counters.add("bytes", head.totalBytes);
    const gso = this.#view.getUint8(place + AT.gsoType) & ~GSO_ECN;
    if (gso === GSO.none) this.#whole(peer, place, at, head);
    else this.#several(peer, gso, place, at, head);
  }

  #unknown(at: number, head: IpHead): void {
    const many =
      head.family === 4 ? this.#view.getUint8(at + 16) >= 224 : this.#view.getUint8(at + 24) === 0xff;
    if (many) return this.#counters.add("dropMulticast", 1);
    this.#counters.add("dropUnknown", 1);
    this.#answer("no route", at, head, 0);
  }

  #whole(peer: number, place: number, at: number, head: IpHead): void {
    if (!this.#pathTakes(peer, head.totalBytes, at, head)) return;
    if ((this.#view.getUint8(place) & NEEDS_CHECKSUM) !== 0) {
      const start = this.#view.getUint16(place + AT.checksumStart, true);
      const field = this.#view.getUint16(place + AT.checksumOffset, true);
      if (start < head.headerBytes || start + field + 2 > head.totalBytes)
        return this.#counters.add("dropMalformed", 1);
      if (this.#mayStayPartial(peer, at, head, start, field)) this.#markPartial(at);
      else this.#complete(at, start, field, head);
    }
    this.#batch.addWhole(peer, at, head.totalBytes);
  }

  /** True if the far end will find the checksum again, from the packet alone. */
  #mayStayPartial(peer: number, at: number, head: IpHead, start: number, field: number): boolean {
    if (this.#table.heddle[peer] !== 1 || start !== head.headerBytes || head.isFragment) return false;
    const rest = head.totalBytes - start;
    if (head.protocol === UDP) return field === UDP_CHECKSUM && rest >= 8;
    return (
      head.protocol === TCP && field === TCP_CHECKSUM && tcpHeaderBytes(this.#view, at + start, rest) > 0
    );
  }

  #markPartial(at: number): void {
    this.#view.setUint8(at, this.#view.getUint8(at) | PARTIAL);
  }

  /** Sums what the kernel left to be summed; its field has the pseudo-header's sum. */
  #complete(at: number, start: number, field: number, head: IpHead): void {
    const sum = ~sumOf(this.#view, at + start, head.totalBytes - start) & 0xffff;
    const isUdp = field === UDP_CHECKSUM && start === head.headerBytes && head.protocol === UDP;
    this.#view.setUint16(at + start + field, sum === 0 && isUdp ? 0xffff : sum);
  }

  #several(peer: number, gso: number, place: number, at: number, head: IpHead): void {
    const view = this.#view;
    const start = view.getUint16(place + AT.checksumStart, true);
    const size = view.getUint16(place + AT.gsoSize, true);
    const isUdp = gso === GSO.udp;
    const fits =
      (isUdp || (gso === GSO.tcp4 && head.family === 4) || (gso === GSO.tcp6 && head.family === 6)) &&
      (view.getUint8(place) & NEEDS_CHECKSUM) !== 0 &&
      view.getUint16(place + AT.checksumOffset, true) === (isUdp ? UDP_CHECKSUM : TCP_CHECKSUM) &&
      (start === head.headerBytes
        ? head.protocol === (isUdp ? UDP : TCP)
        : start > head.headerBytes && head.family === 6) &&
      !head.isFragment &&
      size > 0 &&
      start + (isUdp ? 8 : 20) <= head.totalBytes;
    const transport = !fits ? 0 : isUdp ? 8 : tcpHeaderBytes(view, at + start, head.totalBytes - start);
    const headers = start + transport;
    if (transport === 0 || headers > HEADERS_BYTES) return this.#counters.add("dropMalformed", 1);
    if (headers + size >= head.totalBytes) return this.#whole(peer, place, at, head);
    if (!this.#pathTakes(peer, headers + size, at, head)) return;
    const partial = this.#table.heddle[peer] === 1 && start === head.headerBytes;
    if (partial) this.#markPartial(at);
    this.#cut(peer, partial, isUdp, at, start, headers, size, head);
  }

  /**
   * Cuts what lies from `at` into segments of `size` bytes of payload: the first with the headers as they are, each further
   * one with a copy of them. In the headers change lengths, the identification, the sequence number, flags and checksums.
   */
  #cut(
    peer: number,
    partial: boolean,
    isUdp: boolean,
    at: number,
    start: number,
    headers: number,
    size: number,
    head: IpHead,
  ): void {
    const view = this.#view;
    const total = head.totalBytes;
    const family = head.family;
    const field = isUdp ? UDP_CHECKSUM : TCP_CHECKSUM;
    const id = family === 4 ? view.getUint16(at + 4) : 0;
    // What the IPv4 header sums to without length and identification.
    const rest4 = family === 4 ? (~view.getUint16(at + 10) & 0xffff) + (~total & 0xffff) + (~id & 0xffff) : 0;
    // The pseudo-header's sum without the length.
    const pseudo = view.getUint16(at + start + field) + (~(total - start) & 0xffff);
    const sequence = isUdp ? 0 : view.getInt32(at + start + 4);
    const flags = isUdp ? 0 : view.getUint8(at + start + 13);
    for (let from = headers, n = 0; from < total; from += size, n++) {
      if (!this.#batch.hasRoom) this.#batch.flush();
      const payload = total - from < size ? total - from : size;
      const isLast = from + payload === total;
      let to = at;
      if (n > 0) {
        to = HEADERS_AT + this.#batch.waiting * HEADERS_BYTES;
        for (let i = 0; i < headers; i += 4) view.setInt32(to + i, view.getInt32(at + i));
      }
      const bytes = headers + payload;
      if (family === 4) {
        const nextId = (id + n) & 0xffff;
        view.setUint16(to + 2, bytes);
        view.setUint16(to + 4, nextId);
        view.setUint16(to + 10, ~fold32(rest4 + bytes + nextId) & 0xffff);
      } else view.setUint16(to + 4, bytes - 40);
      if (isUdp) view.setUint16(to + start + 4, 8 + payload);
      else {
        view.setInt32(to + start + 4, (sequence + n * size) | 0);
        view.setUint8(to + start + 13, flags & (n === 0 ? 0xff : ~CWR) & (isLast ? 0xff : ~(FIN | PSH)));
      }
      if (!partial) {
        view.setUint16(to + start + field, 0);
        const sum =
          pseudo +
          (bytes - start) +
          sumOf(view, to + start, headers - start) +
          sumOf(view, at + from, payload);
        const checksum = ~fold32(sum) & 0xffff;
        view.setUint16(to + start + field, isUdp && checksum === 0 ? 0xffff : checksum);
      }
      if (n === 0) this.#batch.addWhole(peer, at, bytes);
      else this.#batch.addParts(peer, to, headers, at + from, payload);
    }
  }

  /** False if the packet does not fit on the path and is to go whole: its sender was told then. */
  #pathTakes(peer: number, bytes: number, at: number, head: IpHead): boolean {
    const limit = this.#limits[peer] ?? 0;
    if (limit === 0 || bytes <= limit || !head.isWhole) return true;
    if (this.#io.now() - (this.#learned[peer] ?? 0) > PATH_MS) {
      this.#limits[peer] = 0;
      return true;
    }
    this.#counters.add("dropTooBig", 1);
    this.#answer("too big", at, head, limit);
    return false;
  }

  /** The kernel knows that the path is narrower than this datagram, whose packet may have been made ready to go. */
  #datagramTooBig(messages: number, peer: number, place: number): boolean {
    const view = this.#view;
    view.setUint8(place, view.getUint8(place) & ~PARTIAL);
    const head = this.#answerHead;
    // Of a segment only the headers lie together: its lengths are looked at no further.
    if (!readIp(view, place, 0xffff, head)) return false;
    if (!head.isWhole) return this.#io.sendFragmented(messages);
    const limit = this.#io.pathBytes(peer);
    this.#limits[peer] = limit;
    this.#learned[peer] = this.#io.now();
    const quoted = { ...head, totalBytes: Math.min(head.totalBytes, head.headerBytes + 8) };
    if (limit > 0) this.#answer("too big", place, quoted, limit);
    return false;
  }

  #answer(reason: Reason, at: number, head: IpHead, mtuBytes: number): void {
    const from = head.family === 4 ? this.#own.v4 : this.#own.v6;
    if (from === undefined || !isAnswered(this.#view, at, head) || !this.#io.mayAnswer()) return;
    const length = writeAnswer(this.#memory, ANSWER_AT + VIRTIO_BYTES, reason, at, head, from, mtuBytes);
    this.#io.answer(ANSWER_AT, VIRTIO_BYTES + length);
  }
}

/** The kernel forgets what a path takes after ten minutes (`mtu_expires`). */
const PATH_MS = 600_000;
const FIN = 0x01;
const PSH = 0x08;
const CWR = 0x80;
