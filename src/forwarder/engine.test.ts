/** The workers with real threads and sockets; pairs of sockets stand for the devices of two hosts. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Fd } from "../sys/fd.ts";
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
  /** Gives the device a packet with its header; false if it has no room. */
  offer(bytes: Uint8Array): boolean;
  /** As `offer`, where there is room. */
  put(bytes: Uint8Array): void;
  /** The next packet that was written to the device, or undefined if none came in time. */
  take(timeoutMs?: number): Uint8Array | undefined;
}
const kernel = (fd: number): Kernel => ({
  offer(bytes) {
    memory.bytes.set(bytes, DATA);
    setVector(memory, POLL_BYTES, DATA, bytes.length);
    return io.writev(fd, memory, POLL_BYTES, 1) === bytes.length;
  },
  put(bytes) {
    expect(this.offer(bytes)).toBeTrue();
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
  readonly device: Fd;
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
    device,
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

/** So many large packets may be on their way at once: they all have room in one device. */
const WINDOW = 10;
const LARGE = 17_000;

/** Sends packets with numbers from one host to the other and checks their order. */
function stream(a: Host, b: Host) {
  let put = 0;
  let taken = 0;
  const take = (): void => {
    const got = b.kernel.take();
    if (got !== undefined) taken++;
    // The identification of IPv4, which is the packet's number.
    expect([got?.[VIRTIO_BYTES + 4], got?.[VIRTIO_BYTES + 5]]).toEqual([(taken >> 8) & 0xff, taken & 0xff]);
  };
  return {
    /** Gives the device a large packet where there is room, else takes one that has arrived. */
    push(): void {
      const next = given(numbered((put + 1) & 0xffff, LARGE), 1400);
      if (put - taken < WINDOW && a.kernel.offer(next)) put++;
      else take();
    },
    put(): void {
      a.kernel.put(given(numbered(++put & 0xffff)));
    },
    /** All that is on its way arrives. */
    drain(): void {
      while (taken < put) take();
    },
  };
}

/** Large packets, as many as there is room for, until `done`. */
function flood(streams: readonly ReturnType<typeof stream>[], done: () => boolean): void {
  for (let i = 0; i < 100_000 && !done(); i++) for (const packets of streams) packets.push();
  expect(done()).toBeTrue();
}

/** Two hosts that are each other's peer. */
async function twoHosts(stack: DisposableStack) {
  const [a, b] = [await host(stack), await host(stack)];
  await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.2.0/24")], 4));
  await b.engine.setPeers(peerTable([peerAt(a.port, "10.0.2.0/24")], 4));
  return { a, b, [Symbol.asyncDispose]: () => Promise.all([a.engine.end(), b.engine.end()]).then(() => {}) };
}

test("packets keep their order while one worker and both of them take turns", async () => {
  using stack = new DisposableStack();
  await using hosts = await twoHosts(stack);
  const { a, b } = hosts;
  const streams = [stream(a, b), stream(b, a)];
  for (let round = 0; round < 4; round++) {
    expect([a.engine.isShared, b.engine.isShared]).toEqual([false, false]);
    flood(streams, () => a.engine.isShared && b.engine.isShared);
    for (let i = 0; i < 200; i++) for (const packets of streams) packets.push();
    for (const packets of streams) packets.drain();
    // Small ones now and then, until one does both again, whatever is on its way at that moment.
    for (let i = 0; i < 10_000 && (a.engine.isShared || b.engine.isShared); i++) {
      for (const packets of streams) {
        packets.put();
        packets.put();
        packets.drain();
      }
    }
    while (a.engine.isShared || b.engine.isShared) await Bun.sleep(1);
  }
}, 60_000);

test("peers change, and the workers pause and run, while both of them work", async () => {
  using stack = new DisposableStack();
  await using hosts = await twoHosts(stack);
  const { a, b } = hosts;
  const packets = stream(a, b);
  for (let round = 0; round < 5; round++) {
    flood([packets], () => a.engine.isShared);
    await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.0.0/14"), peerAt(9, "10.9.0.0/16")], 4));
    await a.engine.pause();
    packets.drain();
    for (let i = 0; i < 10; i++) packets.put();
    expect(b.kernel.take(20)).toBeUndefined();
    await a.engine.run();
    packets.drain();
    // Whoever reads the device then has the peers of now too.
    await a.engine.setPeers(peerTable([peerAt(b.port, "10.0.2.0/24")], 4));
    while (a.engine.isShared) await Bun.sleep(1);
    packets.put();
    packets.drain();
  }
}, 60_000);

test.each([
  ["one worker moves", false, "receive"],
  ["both workers move", true, "send"],
] as const)(
  "a device that is gone is told where %s packets",
  async (_, shared, who) => {
    using stack = new DisposableStack();
    await using hosts = await twoHosts(stack);
    const { a, b } = hosts;
    const packets = stream(a, b);
    if (shared) flood([packets], () => a.engine.isShared);
    await a.engine.pause();
    // The sender may have given the device back before it heard of the pause.
    while (a.engine.isShared !== shared) {
      await a.engine.run();
      flood([packets], () => a.engine.isShared);
      await a.engine.pause();
    }
    a.device[Symbol.dispose]();
    await a.engine.run();
    expect(await a.engine.failed).toBe(`${who}: reading from the device: EBADF`);
  },
  60_000,
);
