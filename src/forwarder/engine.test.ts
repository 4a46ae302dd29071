/** The workers with real threads and sockets; pairs of sockets stand for the devices of two hosts. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { setVector } from "../sys/messages.ts";
import { packetIo, POLL, POLL_BYTES } from "../sys/packet-io.ts";
import { pin } from "../sys/pinned.ts";
import { cidr, ip } from "../testing/address.ts";
import { oneHopOn, packet, partial, virtio } from "../testing/packets.ts";
import { loopbackTunnel, socketPair } from "../testing/sockets.ts";
import { type Engine, hireCrew, startEngine } from "./engine.ts";
import { type Peer, peerTable } from "./peers.ts";
import { VIRTIO_BYTES } from "./virtio.ts";

const io = packetIo();
const memory = pin(200_000);
const DATA = 1024;

/** The kernel's end of a device. */
interface Kernel {
  /** Gives the device a packet with its header. */
  put(bytes: Uint8Array): void;
  /** The next packet that was written to the device, or undefined if none came in time. */
  take(timeoutMs?: number): Uint8Array | undefined;
}
const kernel = (fd: number): Kernel => ({
  put(bytes) {
    memory.bytes.set(bytes, DATA);
    setVector(memory, POLL_BYTES, DATA, bytes.length);
    expect(io.writev(fd, memory, POLL_BYTES, 1)).toBe(bytes.length);
  },
  take(timeoutMs = 10_000) {
    io.wait(memory, 0, fd, POLL.in, -1, timeoutMs);
    const got = io.read(fd, memory, DATA, 70_000);
    return got < 0 ? undefined : memory.bytes.slice(DATA, DATA + got);
  },
});

const peerAt = (port: number, ...subnets: readonly string[]): Peer => ({
  id: "far",
  subnets: subnets.map(cidr),
  ip: ip("127.0.0.1"),
  port,
  heddle: true,
});

interface Host extends AsyncDisposable {
  readonly kernel: Kernel;
  readonly engine: Engine;
  readonly port: number;
}
async function host(stack: DisposableStack): Promise<Host> {
  const crew = await hireCrew(join(import.meta.dir, "../main.ts"));
  const [device, ours] = socketPair("packets");
  const socket = loopbackTunnel();
  for (const fd of [device, ours, socket.fd]) stack.use(fd);
  const engine = await startEngine(crew, {
    device: device.raw,
    socket: socket.fd.raw,
    family: 4,
    joinsUdp: true,
    own: {},
    peers: peerTable([], 4),
  });
  await engine.run();
  return {
    kernel: kernel(ours.raw),
    engine,
    port: socket.port,
    [Symbol.asyncDispose]: () => engine.end(),
  };
}

const numbered = (n: number, bytes = 100): Uint8Array =>
  packet({
    from: "10.0.1.1",
    to: "10.0.2.1",
    protocol: "tcp",
    id: n,
    sequence: n,
    hops: 65,
    payload: Uint8Array.from({ length: bytes }, (_, i) => (i + n) & 0xff),
  });
const given = (bytes: Uint8Array, size = 0): Uint8Array =>
  Uint8Array.from([...virtio(bytes, size), ...partial(bytes)]);
/** What arrives: one hop on, and the sum still to do. */
const arrived = (n: number, bytes = 100, size = 0): string =>
  given(oneHopOn(numbered(n, bytes)), size).toHex();

test("packets cross, peers change while they do, and the workers pause and end at once", async () => {
  using stack = new DisposableStack();
  await using a = await host(stack);
  await using b = await host(stack);
  a.kernel.put(given(numbered(1)));
  expect(b.kernel.take(50)).toBeUndefined();
  await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.2.0/24")], 4));
  expect(a.engine.sent.read().dropUnknown).toBe(1);

  // So many that the loops are compiled.
  for (let n = 2; n < 12_000; n++) {
    a.kernel.put(given(numbered(n)));
    const got = b.kernel.take()?.toHex();
    if (got !== arrived(n)) expect(got).toBe(arrived(n));
    if (n % 5000 === 0) {
      Bun.gc(true);
      await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.0.0/14"), peerAt(9, "10.9.0.0/16")], 4));
    }
  }
  a.kernel.put(given(numbered(7, 60_000), 1400));
  expect(b.kernel.take()?.toHex()).toBe(arrived(7, 60_000, 1400));

  const started = performance.now();
  await b.engine.pause();
  a.kernel.put(given(numbered(3)));
  expect(b.kernel.take(50)).toBeUndefined();
  await b.engine.run();
  // What came meanwhile has waited.
  expect(b.kernel.take()?.toHex()).toBe(arrived(3));
  await Promise.all([a.engine.end(), b.engine.end()]);
  expect(performance.now() - started).toBeLessThan(5000);
  const { packets, dropRefused, dropMalformed } = b.engine.received.read();
  expect([packets, dropRefused, dropMalformed]).toEqual([12_042, 0, 0]);
}, 60_000);

test("packets keep their order while one worker and both of them take turns", async () => {
  using stack = new DisposableStack();
  await using a = await host(stack);
  await using b = await host(stack);
  await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.2.0/24")], 4));
  const until = async (what: () => boolean): Promise<void> => {
    while (!what()) await Bun.sleep(1);
  };
  let next = 0;
  let expected = 0;
  const cross = (count: number, bytes: number): void => {
    const size = bytes > 1400 ? 1400 : 0;
    for (let i = 0; i < count; i++) a.kernel.put(given(numbered(++next, bytes), size));
    for (let i = 0; i < count; i++) {
      const got = b.kernel.take();
      // The identification of IPv4, which is the packet's number.
      if (got !== undefined) expected++;
      expect([got?.[VIRTIO_BYTES + 4], got?.[VIRTIO_BYTES + 5]]).toEqual([expected >> 8, expected & 0xff]);
    }
  };
  for (let round = 0; round < 3; round++) {
    expect([a.engine.isShared, b.engine.isShared]).toEqual([false, false]);
    // Large ones, until two share the work of sending and those of the other host that of receiving.
    for (let i = 0; i < 1000 && !(a.engine.isShared && b.engine.isShared); i++) cross(4, 40_000);
    expect([a.engine.isShared, b.engine.isShared]).toEqual([true, true]);
    // Small ones, until one does both again, whatever is on its way at that moment.
    for (let i = 0; i < 10_000 && (a.engine.isShared || b.engine.isShared); i++) cross(2, 10);
    await until(() => !a.engine.isShared && !b.engine.isShared);
    cross(8, 100);
  }
  await Promise.all([a.engine.end(), b.engine.end()]);
}, 60_000);

test("a device that is gone is told", async () => {
  using stack = new DisposableStack();
  await using a = await host(stack);
  stack.dispose();
  await a.engine.pause();
  await a.engine.run();
  expect(await a.engine.failed).toMatch(/EBADF$/);
});
