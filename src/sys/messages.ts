/**
 * The structures of sendmmsg(2) and recvmmsg(2) in pinned memory: arrays of `struct mmsghdr`, `struct iovec` and one
 * control message each, as 64-bit Linux has them (linux/socket.h, bits/socket.h).
 */
import type { Pinned } from "./pinned.ts";

export const IOVEC_BYTES = 16;
export const MMSG_BYTES = 64;
/** Room for one control message that holds an integer, twice over: the kernel may send a second one. */
export const CONTROL_BYTES = 64;
/** `struct sockaddr_in6`, the larger of the two kinds of addresses, rounded up. */
export const SOCKADDR_BYTES = 32;

const AT = { name: 0, nameBytes: 8, vectors: 16, vectorCount: 24, control: 32, controlBytes: 40, flags: 48 };
const AT_RECEIVED = 56;
/** `struct cmsghdr`: length, level, type; the data begins at 16. */
const CMSG = { length: 0, level: 8, type: 12, data: 16 };
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** Points the iovec at `at` to a place of the same block. */
export function setVector(memory: Pinned, at: number, place: number, bytes: number): void {
  memory.point(at, place);
  memory.view.setInt32(at + 8, bytes, true);
}

/** Makes the message at `at` begin at an iovec, with a control message of its own. */
export function prepareMessage(memory: Pinned, at: number, vectors: number, control: number): void {
  memory.point(at + AT.vectors, vectors);
  memory.point(at + AT.control, control);
}

/** Where the message goes: an address in a table of its own memory, of so many bytes. */
export function setReceiver(memory: Pinned, at: number, table: Pinned, place: number, bytes: number): void {
  memory.pointInto(table, at + AT.name, place);
  memory.view.setInt32(at + AT.nameBytes, bytes, true);
}

export function setVectorCount(memory: Pinned, at: number, count: number): void {
  memory.view.setInt32(at + AT.vectorCount, count, true);
}

/** One datagram of it all, or if `segmentBytes` is more than zero several of that size, of which the last may be shorter. */
export function setSegments(memory: Pinned, at: number, control: number, segmentBytes: number): void {
  memory.view.setInt32(at + AT.controlBytes, segmentBytes === 0 ? 0 : 24, true);
  if (segmentBytes === 0) return;
  memory.view.setInt32(control + CMSG.length, CMSG.data + 2, true);
  memory.view.setInt32(control + CMSG.level, SOL_UDP, true);
  memory.view.setInt32(control + CMSG.type, UDP_SEGMENT, true);
  memory.view.setUint16(control + CMSG.data, segmentBytes, true);
}

/** Before a message is received: the kernel wrote over what it says of its control messages. */
export function expectControl(memory: Pinned, at: number): void {
  memory.view.setInt32(at + AT.controlBytes, CONTROL_BYTES, true);
  memory.view.setInt32(at + AT.flags, 0, true);
}

const MSG_TRUNC = 0x20;

/** Bytes of the message at `at` that were received; zero if there were more than it has room for. */
export const receivedBytes = (memory: Pinned, at: number): number =>
  (memory.view.getInt32(at + AT.flags, true) & MSG_TRUNC) !== 0
    ? 0
    : memory.view.getInt32(at + AT_RECEIVED, true);

/** Bytes of each datagram in a message of several; zero if the kernel does not say, since it is one. */
export function receivedSegmentBytes(memory: Pinned, at: number, control: number): number {
  const { view } = memory;
  if (view.getInt32(at + AT.controlBytes, true) < CMSG.data + 4) return 0;
  if (view.getInt32(control + CMSG.level, true) !== SOL_UDP) return 0;
  if (view.getInt32(control + CMSG.type, true) !== UDP_GRO) return 0;
  return view.getInt32(control + CMSG.data, true);
}
