import { describe, expect, test } from "bun:test";
import { cidr, ip } from "../testing/address.ts";
import { senderStage, type StageOptions } from "../testing/packet-path.ts";
import {
  nothingLeft,
  oneHopOn,
  packet,
  type PacketSpec,
  partial,
  segmentsOf,
  virtio,
} from "../testing/packets.ts";
import type { Peer } from "./peers.ts";

const peer = (id: string, heddle: boolean, ...subnets: readonly string[]): Peer => ({
  id,
  subnets: subnets.map(cidr),
  ip: ip("192.0.2.1"),
  port: 8285,
  heddle,
});
const PLAIN = 0;
const HEDDLE = 1;
const peers = [
  peer("plain", false, "10.0.1.0/24", "fd00:1::/64"),
  peer("heddle", true, "10.0.2.0/24", "fd00:2::/64"),
];
const stage = (options?: StageOptions): ReturnType<typeof senderStage> => senderStage(peers, options);

const payload = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
const toPlain: PacketSpec = { from: "10.0.9.1", to: "10.0.1.5", protocol: "tcp", payload: payload(100) };
const toHeddle: PacketSpec = { ...toPlain, to: "10.0.2.5" };
const six: PacketSpec = { ...toPlain, from: "fd00:9::1", to: "fd00:1::5" };

/** What the device gives of a packet that the kernel did not finish. */
const unfinished = (bytes: Uint8Array, size = 0): Uint8Array =>
  Uint8Array.from([...virtio(bytes, size), ...partial(bytes)]);
const finished = (bytes: Uint8Array): Uint8Array => Uint8Array.from([...nothingLeft, ...bytes]);
const hex = (all: readonly { readonly bytes: Uint8Array }[]): readonly string[] =>
  all.map(({ bytes }) => bytes.toHex());
const expected = (all: readonly Uint8Array[]): readonly string[] => all.map((b) => oneHopOn(b).toHex());

describe("towards a plain peer", () => {
  test.each<[string, PacketSpec]>([
    ["TCP over IPv4", toPlain],
    ["UDP over IPv4", { ...toPlain, protocol: "udp" }],
    ["TCP over IPv6", six],
    ["UDP over IPv6", { ...six, protocol: "udp" }],
    ["an odd length", { ...toPlain, payload: payload(33) }],
    ["IP options", { ...toPlain, ipOptions: Uint8Array.of(1, 1, 1, 0) }],
    ["no payload", { ...toPlain, payload: payload(0) }],
  ])("the checksum of a packet is completed: %s", (_, spec) => {
    const bytes = packet(spec);
    const sent = stage().send(unfinished(bytes));
    expect(sent.map(({ peer }) => peer)).toEqual([PLAIN]);
    expect(hex(sent)).toEqual(expected([bytes]));
  });

  test("a packet whose checksum is complete goes as it is, one hop on", () => {
    const bytes = packet(toPlain);
    expect(hex(stage().send(finished(bytes)))).toEqual(expected([bytes]));
  });

  test("a UDP checksum of zero is sent as its other zero", () => {
    const bytes = Array.from({ length: 0x10000 }, (_, n) => n)
      .map((n) => packet({ ...toPlain, protocol: "udp", payload: Uint8Array.of(n >> 8, n & 255) }))
      .find((b) => b[26] === 0xff && b[27] === 0xff);
    if (bytes === undefined) throw new Error("no such payload");
    expect(hex(stage().send(unfinished(bytes)))).toEqual(expected([bytes]));
  });

  test.each<[string, PacketSpec, number]>([
    ["TCP over IPv4", { ...toPlain, payload: payload(5000) }, 1400],
    ["TCP over IPv6", { ...six, payload: payload(5000) }, 1400],
    ["UDP over IPv4", { ...toPlain, protocol: "udp", payload: payload(5000) }, 1400],
    ["UDP over IPv6", { ...six, protocol: "udp", payload: payload(5000) }, 1400],
    ["a size that divides the payload", { ...toPlain, payload: payload(4200) }, 1400],
    ["odd sizes", { ...toPlain, payload: payload(1001) }, 333],
    [
      "options of TCP and of IP",
      {
        ...toPlain,
        payload: payload(3000),
        tcpOptions: payload(40),
        ipOptions: payload(40),
      },
      1000,
    ],
    ["all flags", { ...toPlain, payload: payload(3000), flags: 0xff }, 1000],
    ["numbers that wrap", { ...toPlain, payload: payload(3000), sequence: 0xffff_ff00, id: 0xffff }, 1000],
    ["the longest packet", { ...toPlain, payload: payload(65_495) }, 1432],
    ["more segments than a batch holds", { ...toPlain, payload: payload(60_000) }, 48],
    ["one segment alone", { ...toPlain, payload: payload(900) }, 1400],
  ])("a packet of several segments is cut: %s", (_, spec, size) => {
    const bytes = packet(spec);
    expect(hex(stage().send(unfinished(bytes, size)))).toEqual(expected(segmentsOf(bytes, size)));
  });
});

describe("towards a Heddle peer", () => {
  test.each<[string, PacketSpec, number]>([
    ["TCP over IPv4", { ...toHeddle, payload: payload(5000) }, 1400],
    ["UDP over IPv6", { ...six, to: "fd00:2::5", protocol: "udp", payload: payload(5000) }, 1400],
    ["one packet", toHeddle, 0],
  ])("the checksum is left and the first bit says so: %s", (_, spec, size) => {
    const bytes = packet(spec);
    const sent = stage().send(unfinished(bytes, size));
    expect(sent.every(({ peer, bytes }) => peer === HEDDLE && (bytes[0] ?? 0) >= 0x80)).toBe(true);
    const field = spec.to.includes(":") ? 40 : 20;
    const at = field + (spec.protocol === "tcp" ? 16 : 6);
    const plain = sent.map(({ bytes }) => {
      const copy = Uint8Array.from(bytes);
      copy[0] = (copy[0] ?? 0) & 0x7f;
      return copy.fill(0, at, at + 2).toHex();
    });
    const wanted = segmentsOf(bytes, size).map((b) =>
      oneHopOn(b)
        .fill(0, at, at + 2)
        .toHex(),
    );
    expect(plain).toEqual(wanted);
  });

  test("a checksum that the far end would not find is completed", () => {
    // Of a packet inside of another one.
    const inner = packet({ ...toHeddle, from: "10.9.9.1", to: "10.9.9.2" });
    const outer = packet({ ...toHeddle, protocol: "udp", payload: inner });
    const start = 20 + 8 + 20;
    const undone = Uint8Array.from(outer);
    undone.set(partial(inner), 28);
    const header = Uint8Array.from([1, 0, 0, 0, 0, 0, start, 0, 16, 0]);
    const sent = stage().send(Uint8Array.from([...header, ...undone]));
    expect(hex(sent)).toEqual(expected([outer]));
  });
});

describe("a batch", () => {
  test("has neighbours of one size and one peer in one message, the last may be shorter", () => {
    const s = stage();
    const small = (to: string, length: number): Uint8Array =>
      finished(packet({ ...toPlain, to, protocol: "udp", payload: payload(length) }));
    s.send(
      ...[small("10.0.1.1", 64), small("10.0.1.2", 64), small("10.0.1.3", 20)],
      ...[small("10.0.1.1", 64), small("10.0.2.1", 64), small("10.0.2.1", 65)],
    );
    expect(s.runs.map((run) => run.map(({ bytes }) => bytes.length - 28))).toEqual([
      [64, 64, 20],
      [64],
      [64],
      [65],
    ]);
  });

  test("keeps the order of packets", () => {
    const many = Array.from({ length: 1000 }, (_, i) =>
      packet({ ...toPlain, id: i, payload: payload(10 + (i % 3)) }),
    );
    expect(hex(stage().send(...many.map(finished)))).toEqual(expected(many));
  });

  test("goes datagram by datagram when the kernel takes no segments, and asks no more after EIO", () => {
    const tried: number[] = [];
    const result = (datagrams: number): number => (tried.push(datagrams), datagrams > 1 ? -5 : 1);
    const s = stage({ result });
    const bytes = packet({ ...toPlain, payload: payload(3000) });
    for (let i = 0; i < 2; i++)
      expect(hex(s.send(unfinished(bytes, 1000)))).toEqual(expected(segmentsOf(bytes, 1000)));
    expect(tried).toEqual([3, 1, 1, 1, 1, 1, 1]);
  });

  test("counts what the kernel refuses, and sends the rest", () => {
    const s = stage({ result: (_, bytes) => (bytes > 500 ? -1 : 1) });
    const small = packet(toPlain);
    const large = packet({ ...toHeddle, payload: payload(900) });
    expect(hex(s.send(finished(small), finished(large), finished(small)))).toEqual(expected([small, small]));
    expect(s.counters.read().dropRefused).toBe(1);
  });

  test("waits for a socket that is full, for a while", () => {
    let waits = 0;
    const s = stage({ result: () => (waits > 3 ? 1 : -11), io: { waitForRoom: () => void waits++ } });
    expect(s.send(finished(packet(toPlain))).length).toBe(1);
    waits = -1e9;
    expect(s.send(finished(packet(toPlain))).length).toBe(0);
    expect(s.counters.read().dropCongested).toBe(1);
  });
});

describe("answers", () => {
  const own = { v4: ip("10.0.9.0").bytes, v6: ip("fd00:9::").bytes };
  const typeOf = (answer: Uint8Array | undefined): readonly number[] => {
    const v4 = (answer?.[10] ?? 0) >> 4 === 4;
    return [...(answer?.slice(10 + (v4 ? 20 : 40), 12 + (v4 ? 20 : 40)) ?? [])];
  };

  test("a destination behind nobody is unreachable", () => {
    const s = stage({ own });
    expect(s.send(finished(packet({ ...toPlain, to: "10.0.3.1" })))).toEqual([]);
    expect(s.send(finished(packet({ ...six, to: "fd00:3::1" })))).toEqual([]);
    expect(s.answers.map(typeOf)).toEqual([
      [3, 0],
      [1, 0],
    ]);
    expect(s.counters.read().dropUnknown).toBe(2);
  });

  test("a packet at its last hop has expired", () => {
    const s = stage({ own });
    expect(s.send(finished(packet({ ...toPlain, hops: 1 })), finished(packet({ ...six, hops: 0 })))).toEqual(
      [],
    );
    expect(s.answers.map(typeOf)).toEqual([
      [11, 0],
      [3, 0],
    ]);
  });

  test("a packet that the path does not take is too big, the next one before it is sent", () => {
    let tries = 0;
    const result = (_: number, bytes: number): number => (tries++, bytes > 1300 ? -90 : 1);
    const s = stage({ own, result, io: { pathBytes: () => 1300 } });
    const big = packet({ ...toHeddle, payload: payload(1360) });
    for (const whole of [finished(big), unfinished(big)]) expect(s.send(whole)).toEqual([]);
    expect(tries).toBe(1);
    expect(s.answers.map((a) => [...typeOf(a), (a[36] ?? 0) * 256 + (a[37] ?? 0)])).toEqual([
      [3, 4, 1300],
      [3, 4, 1300],
    ]);
    expect(s.send(finished(packet({ ...toHeddle, payload: payload(1260) }))).length).toBe(1);
  });

  test("a large packet of segments that do not fit is answered once for all", () => {
    const s = stage({ own, result: (_, bytes) => (bytes > 1300 ? -90 : 1), io: { pathBytes: () => 1300 } });
    const big = packet({ ...toHeddle, payload: payload(5000) });
    s.send(unfinished(big, 1400));
    s.answers.length = 0;
    s.send(unfinished(big, 1400));
    expect(s.answers.map(typeOf)).toEqual([[3, 4]]);
  });

  test("what may be cut on its way is sent to be cut", () => {
    let fragmented = 0;
    const io = { pathBytes: () => 1300, sendFragmented: () => (fragmented++, true) };
    const s = stage({ own, result: (_, bytes) => (bytes > 1300 ? -90 : 1), io });
    s.send(finished(packet({ ...toPlain, dontFragment: false, payload: payload(1400) })));
    expect([fragmented, s.answers.length, s.counters.read().dropTooBig]).toEqual([1, 0, 0]);
  });

  test("nobody is answered when there is no address of ours, or it may not be now", () => {
    const unknown = finished(packet({ ...toPlain, to: "10.0.3.1" }));
    for (const s of [stage(), stage({ own, io: { mayAnswer: () => false } })]) {
      s.send(unknown);
      expect(s.answers).toEqual([]);
    }
  });

  test("a packet for many is dropped in silence", () => {
    const s = stage({ own });
    s.send(finished(packet({ ...toPlain, to: "224.0.0.1" })), finished(packet({ ...six, to: "ff02::2" })));
    expect([s.answers.length, s.counters.read().dropMulticast]).toEqual([0, 2]);
  });
});

describe("a malformed packet is dropped and counted", () => {
  const bytes = packet({ ...toPlain, payload: payload(3000) });
  const damaged = (at: number, ...values: readonly number[]): Uint8Array => {
    const copy = unfinished(bytes, 1000);
    copy.set(values, at);
    return copy;
  };
  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["half a header of the device", new Uint8Array(7)],
    ["no packet", nothingLeft],
    ["half an IP header", finished(bytes.subarray(0, 19))],
    ["half an IPv6 header", finished(packet(six).subarray(0, 39))],
    ["version 5", damaged(10, 0x55)],
    ["a header of four words", damaged(10, 0x44)],
    ["a header longer than the packet", finished(Uint8Array.from([0x4f, 0, 0, 40, ...new Uint8Array(36)]))],
    ["a total length beyond the packet", damaged(12, 0xff, 0xff)],
    ["a total length inside of the header", damaged(12, 0, 19)],
    ["segments of no bytes", damaged(4, 0, 0)],
    ["an unknown kind of segments", damaged(1, 3)],
    ["segments of IPv6 in IPv4", damaged(1, 4)],
    ["UDP segments of TCP", damaged(1, 5)],
    ["a checksum that begins elsewhere", damaged(6, 24)],
    ["a checksum beyond the packet", damaged(6, 0xff, 0xff)],
    ["segments without a checksum to do", damaged(0, 0)],
    ["a TCP header of four words", damaged(10 + 20 + 12, 0x40)],
    ["segments of a fragment", damaged(16, 0x20)],
  ])("%s", (_, given) => {
    const s = stage();
    expect(s.send(given)).toEqual([]);
    const { dropMalformed, dropUnknown } = s.counters.read();
    expect([dropMalformed, dropUnknown]).toEqual([1, 0]);
  });

  test("bytes behind the packet are not sent", () => {
    const whole = packet(toPlain);
    expect(hex(stage().send(Uint8Array.from([...finished(whole), 1, 2, 3])))).toEqual(expected([whole]));
  });
});
