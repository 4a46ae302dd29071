/**
 * The calls of the user-space data path on sockets of this process alone, called so often that the engine has compiled
 * their callers and collected what only an address held.
 */
import { describe, expect, test } from "bun:test";
import { loopbackAddress, loopbackTunnel, socketPair } from "../testing/sockets.ts";
import { receiveDescriptors, sendDescriptors } from "./descriptors.ts";
import { call } from "./libc.ts";
import {
  CONTROL_BYTES,
  expectControl,
  IOVEC_BYTES,
  MMSG_BYTES,
  prepareMessage,
  receivedBytes,
  receivedSegmentBytes,
  setReceiver,
  setSegments,
  setVector,
  setVectorCount,
} from "./messages.ts";
import { calm, ERRNO, openWaker, packetIo, POLL, POLL_BYTES, wake } from "./packet-io.ts";
import { pin } from "./pinned.ts";
import { pathPayload, setFragmenting } from "./tunnel-socket.ts";

const io = packetIo();
describe("packet calls", () => {
  test("move the right bytes when they are called so often that the caller is compiled", () => {
    const [a, b] = socketPair("packets");
    using _a = a;
    using _b = b;
    const memory = pin(4096);
    setVector(memory, 0, 1024, 3);
    setVector(memory, IOVEC_BYTES, 2048, 5);
    let wrong = 0;
    for (let i = 0; i < 150_000; i++) {
      memory.view.setUint8(1024, i & 0xff);
      memory.view.setUint32(2048, i);
      const written = io.writev(a.raw, memory, 0, 2);
      const got = io.read(b.raw, memory, 3000, 100);
      if (written !== 8 || got !== 8 || memory.view.getUint8(3000) !== (i & 0xff)) wrong++;
      if (memory.view.getUint32(3003) !== i) wrong++;
      if (i % 30_000 === 0) Bun.gc(true);
    }
    expect(wrong).toBe(0);
    expect(io.read(b.raw, memory, 0, 1)).toBe(-ERRNO.EAGAIN);
  });

  test("a wait ends for a packet and for a waker, and a waker can be calmed", () => {
    const [a, b] = socketPair("packets");
    using _a = a;
    using _b = b;
    using waker = openWaker();
    const memory = pin(POLL_BYTES + 64);
    wake(waker.raw);
    wake(waker.raw);
    expect(io.wait(memory, 0, b.raw, POLL.in, waker.raw, -1)).toBe(true);
    calm(waker.raw);
    calm(waker.raw);
    setVector(memory, POLL_BYTES, POLL_BYTES + 16, 1);
    io.writev(a.raw, memory, POLL_BYTES, 1);
    expect(io.wait(memory, 0, b.raw, POLL.in, waker.raw, -1)).toBe(false);
  });
});

describe("messages", () => {
  test("the kernel cuts one into datagrams, and says of a run how long each is", () => {
    const [from, to] = [loopbackTunnel(), loopbackTunnel()];
    using _from = from.fd;
    using _to = to.fd;
    const memory = pin(200_000);
    memory.bytes.set(loopbackAddress(to.port), 4096);
    const data = Uint8Array.from({ length: 2500 }, (_, i) => i & 0xff);
    memory.bytes.set(data, 8192);
    setVector(memory, 1024, 8192, data.length);
    prepareMessage(memory, 0, 1024, 2048);
    setVectorCount(memory, 0, 1);
    setReceiver(memory, 0, memory, 4096, 16);
    setSegments(memory, 0, 2048, 1000);
    expect(io.sendmmsg(from.fd.raw, memory, 0, 1)).toBe(1);
    const COUNT = 4;
    for (let i = 0; i < COUNT; i++) {
      const at = i * MMSG_BYTES;
      setVector(memory, 1024 + i * IOVEC_BYTES, 20_000 + i * 20_000, 20_000);
      prepareMessage(memory, at, 1024 + i * IOVEC_BYTES, 2048 + i * CONTROL_BYTES);
      setVectorCount(memory, at, 1);
      expectControl(memory, at);
    }
    io.wait(memory, 6000, to.fd.raw, POLL.in, -1, 5000);
    const got = io.recvmmsg(to.fd.raw, memory, 0, COUNT);
    const lengths = Array.from({ length: got }, (_, i) => {
      const bytes = receivedBytes(memory, i * MMSG_BYTES);
      const unit = receivedSegmentBytes(memory, i * MMSG_BYTES, 2048 + i * CONTROL_BYTES) || bytes;
      return Array.from({ length: Math.ceil(bytes / unit) }, (_, n) => Math.min(unit, bytes - n * unit));
    });
    expect(lengths.flat()).toEqual([1000, 1000, 500]);
  });

  test("the path of the loopback takes what its link does, and more only in parts", () => {
    expect(pathPayload(loopbackAddress(9), 4)).toBe(65_507);
    const socket = loopbackTunnel();
    using _fd = socket.fd;
    expect(() => setFragmenting(socket.fd.raw, 4, true)).not.toThrow();
  });
});

describe("descriptors", () => {
  test("go to another process with a text, and are closed on exec there", () => {
    const [a, b] = socketPair("stream");
    using _a = a;
    using _b = b;
    const [c, d] = socketPair("packets");
    using _d = d;
    sendDescriptors(a.raw, '{"ok":true}\n', [c.raw]);
    c[Symbol.dispose]();
    const { text, descriptors } = receiveDescriptors(b.raw, 5000);
    using mine = descriptors[0];
    expect([text, descriptors.length]).toEqual(['{"ok":true}\n', 1]);
    const F_GETFD = 1;
    expect(call("fcntl", "test", (libc) => libc.fcntl(mine?.raw ?? -1, F_GETFD, 0))).toBe(1);
    const memory = pin(64);
    setVector(memory, 0, 16, 1);
    expect(io.writev(mine?.raw ?? -1, memory, 0, 1)).toBe(1);
  });

  test("a text without any is one with none, and the end is an empty text", () => {
    const [a, b] = socketPair("stream");
    using _b = b;
    sendDescriptors(a.raw, "no", []);
    a[Symbol.dispose]();
    expect(receiveDescriptors(b.raw, 5000)).toEqual({ text: "no", descriptors: [] });
    expect(receiveDescriptors(b.raw, 5000).text).toBe("");
  });
});
