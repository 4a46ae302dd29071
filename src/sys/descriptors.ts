/** Descriptors from one process to another over a Unix socket (SCM_RIGHTS, unix(7)). */
import { NetError } from "../errors.ts";
import { Fd } from "./fd.ts";
import { MMSG_BYTES, prepareMessage, receivedBytes, setVector, setVectorCount } from "./messages.ts";
import { failureName, packetIo, POLL, POLL_BYTES } from "./packet-io.ts";
import { type Pinned, pin } from "./pinned.ts";

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MOST_DESCRIPTORS = 8;
const VECTOR_AT = MMSG_BYTES;
const CONTROL_AT = VECTOR_AT + 16;
const CONTROL_HEADER = 16;
const CONTROL_BYTES = CONTROL_HEADER + 4 * MOST_DESCRIPTORS;
const POLL_AT = CONTROL_AT + CONTROL_BYTES;
const TEXT_AT = POLL_AT + POLL_BYTES;
const TEXT_BYTES = 4096;
/** `msg_controllen` of `struct msghdr`. */
const CONTROL_LENGTH_AT = 40;

function message(textBytes: number): Pinned {
  const memory = pin(TEXT_AT + TEXT_BYTES);
  setVector(memory, VECTOR_AT, TEXT_AT, textBytes);
  prepareMessage(memory, 0, VECTOR_AT, CONTROL_AT);
  setVectorCount(memory, 0, 1);
  return memory;
}

/** Sends a short text with descriptors, which stay open here. @throws sys/call if the other end is gone */
export function sendDescriptors(socket: number, text: string, descriptors: readonly number[]): void {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > TEXT_BYTES || descriptors.length > MOST_DESCRIPTORS) throw new RangeError(text);
  using memory = message(bytes.length);
  memory.bytes.set(bytes, TEXT_AT);
  const { view } = memory;
  const length = CONTROL_HEADER + 4 * descriptors.length;
  view.setInt32(CONTROL_LENGTH_AT, length, true);
  view.setInt32(CONTROL_AT, length, true);
  view.setInt32(CONTROL_AT + 8, SOL_SOCKET, true);
  view.setInt32(CONTROL_AT + 12, SCM_RIGHTS, true);
  descriptors.forEach((fd, i) => view.setInt32(CONTROL_AT + CONTROL_HEADER + 4 * i, fd, true));
  const sent = packetIo().sendmmsg(socket, memory, 0, 1);
  if (sent < 0)
    throw new NetError("sys/call", { call: "sendmsg", on: "descriptors", errno: failureName(sent) });
}

/**
 * Waits for a text and the descriptors with it, which the caller owns from then on; at most 4096 bytes and eight
 * descriptors. An empty text: the other end is gone. @throws sys/call, EAGAIN after `timeoutMs`
 */
export function receiveDescriptors(
  socket: number,
  timeoutMs: number,
): { readonly text: string; readonly descriptors: readonly Fd[] } {
  using memory = message(TEXT_BYTES);
  const { view } = memory;
  const io = packetIo();
  io.wait(memory, POLL_AT, socket, POLL.in, -1, timeoutMs);
  view.setInt32(CONTROL_LENGTH_AT, CONTROL_BYTES, true);
  const got = io.recvmmsg(socket, memory, 0, 1);
  if (got < 0)
    throw new NetError("sys/call", { call: "recvmsg", on: "descriptors", errno: failureName(got) });
  const has =
    view.getInt32(CONTROL_LENGTH_AT, true) >= CONTROL_HEADER &&
    view.getInt32(CONTROL_AT + 8, true) === SOL_SOCKET &&
    view.getInt32(CONTROL_AT + 12, true) === SCM_RIGHTS;
  const count = has ? (view.getInt32(CONTROL_AT, true) - CONTROL_HEADER) / 4 : 0;
  const descriptors = Array.from(
    { length: count },
    (_, i) => new Fd(view.getInt32(CONTROL_AT + CONTROL_HEADER + 4 * i, true)),
  );
  const bytes = memory.bytes.slice(TEXT_AT, TEXT_AT + receivedBytes(memory, 0));
  return { text: new TextDecoder().decode(bytes), descriptors };
}
