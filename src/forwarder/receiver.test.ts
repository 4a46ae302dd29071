import { describe, expect, test } from "bun:test";
import { cidr, ip } from "../testing/address.ts";
import { receiverStage, runsOf, senderStage } from "../testing/packet-path.ts";
import { nothingLeft, oneHopOn, packet, type PacketSpec, partial, virtio } from "../testing/packets.ts";

const payload = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 5 + (i >> 8)) & 0xff);
const base: PacketSpec = { from: "10.0.9.1", to: "10.0.2.5", protocol: "tcp", payload: payload(5000) };
const six: PacketSpec = { ...base, from: "fd00:9::1", to: "fd00:2::5" };
const heddle = {
  id: "heddle",
  subnets: [cidr("10.0.2.0/24"), cidr("fd00:2::/64")],
  ip: ip("192.0.2.1"),
  port: 8285,
  heddle: true,
};
/** What a Heddle sender makes of a packet. */
const datagrams = (bytes: Uint8Array, size: number): readonly Uint8Array[] =>
  senderStage([heddle])
    .send(Uint8Array.from([...virtio(bytes, size), ...partial(bytes)]))
    .map((sent) => sent.bytes);
/** What the device is given of a packet: its header, and the packet with its checksum undone. */
const written = (bytes: Uint8Array, size: number): string =>
  Uint8Array.from([...virtio(bytes, size), ...partial(bytes)]).toHex();
const receive = (all: readonly Uint8Array[], joinsUdp = true): readonly string[] =>
  receiverStage(joinsUdp)
    .receive(...runsOf(all))
    .map((b) => b.toHex());
const segment = (spec: Partial<PacketSpec>): Uint8Array => {
  const [one] = datagrams(packet({ ...base, payload: payload(1000), ...spec }), 0);
  return one ?? new Uint8Array(0);
};
/** How many segments each written packet has. */
const shape = (...all: readonly Uint8Array[]): readonly number[] =>
  receiverStage()
    .receive(...runsOf(all))
    .map((b) => {
      const size = (b[4] ?? 0) + (b[5] ?? 0) * 256;
      const headers = (b[2] ?? 0) + (b[3] ?? 0) * 256;
      return size === 0 ? 1 : Math.ceil((b.length - 10 - headers) / size);
    });

describe("segments of one packet become that packet again", () => {
  test.each<[string, PacketSpec, number]>([
    ["TCP over IPv4", base, 1400],
    ["TCP over IPv6", six, 1400],
    ["UDP over IPv4", { ...base, protocol: "udp" }, 1400],
    ["UDP over IPv6", { ...six, protocol: "udp" }, 1400],
    ["with PSH and FIN at the end", { ...base, flags: 0x19 }, 1400],
    ["with ECN's echo", { ...base, flags: 0x50, tos: 2 }, 1400],
    ["with options", { ...base, tcpOptions: payload(12), ipOptions: payload(8) }, 900],
    ["with numbers that wrap", { ...base, sequence: 0xffff_ff00, id: 0xfffe }, 1000],
    ["the longest", { ...base, payload: payload(65_495) }, 1432],
    ["one alone", { ...base, payload: payload(100) }, 0],
  ])("%s", (_, spec, size) => {
    const bytes = packet(spec);
    expect(receive(datagrams(bytes, size))).toEqual([written(oneHopOn(bytes), size)]);
  });

  test("UDP only where the kernel takes it", () => {
    const bytes = packet({ ...base, protocol: "udp" });
    expect(receive(datagrams(bytes, 1400), false).length).toBe(4);
  });

  test("of several messages of one call", () => {
    const all = datagrams(packet({ ...base, payload: payload(60_000) }), 1000);
    const runs = all.map((bytes) => ({ bytes, unit: 0 }));
    expect(receiverStage().receive(...runs).length).toBe(2);
  });
});

describe("segments are joined while the kernel would cut them from one packet", () => {
  const first = { sequence: 1, id: 7 };
  const second = { sequence: 1001, id: 8 };
  const joined = (...specs: readonly Partial<PacketSpec>[]): readonly number[] =>
    shape(segment(first), ...specs.map(segment));
  test("neighbours are", () => expect(joined(second, { sequence: 2001, id: 9 })).toEqual([3]));
  test.each<[string, Partial<PacketSpec>]>([
    ["a gap in the stream", { sequence: 1002 }],
    ["a repeated part", { sequence: 1 }],
    ["a gap of identifications", { id: 9 }],
    ["another acknowledgement", { ack: 2 }],
    ["another window", { window: 501 }],
    ["another source port", { ports: [4001, 80] }],
    ["another destination", { to: "10.0.2.6" }],
    ["another source", { from: "10.0.9.2" }],
    ["another TTL", { hops: 63 }],
    ["another mark of ECN", { tos: 3 }],
    ["no DF", { dontFragment: false }],
    ["SYN", { flags: 0x12 }],
    ["RST", { flags: 0x14 }],
    ["URG", { flags: 0x30 }],
    ["CWR", { flags: 0x90 }],
    ["ECN's echo", { flags: 0x50 }],
    ["no payload", { payload: payload(0) }],
    ["more payload", { payload: payload(1001) }],
    ["TCP options", { tcpOptions: payload(4) }],
    ["IP options", { ipOptions: payload(4) }],
    ["UDP", { protocol: "udp" }],
  ])("not with %s", (_, difference) => expect(joined({ ...second, ...difference })).toEqual([1, 1]));
  test.each<[string, Partial<PacketSpec>, readonly number[]]>([
    ["a shorter one", { payload: payload(999) }, [2, 1]],
    ["PSH", { flags: 0x18 }, [2, 1]],
    ["FIN", { flags: 0x11 }, [2, 1]],
  ])("%s is the last", (_, difference, wanted) =>
    expect(joined({ ...second, ...difference }, { sequence: 2001, id: 9 })).toEqual(wanted),
  );
  test("options that differ keep them apart", () => {
    const with1 = { tcpOptions: Uint8Array.of(1, 1, 8, 1) };
    const with2 = { tcpOptions: Uint8Array.of(1, 1, 8, 2) };
    expect(shape(segment({ ...first, ...with1 }), segment({ ...second, ...with1 }))).toEqual([2]);
    expect(shape(segment({ ...first, ...with1 }), segment({ ...second, ...with2 }))).toEqual([1, 1]);
  });
  test("a header whose checksum is wrong is not made right", () => {
    const wrong = segment(second);
    wrong[10] = (wrong[10] ?? 0) ^ 1;
    expect(shape(segment(first), wrong)).toEqual([1, 1]);
    const wrongFirst = segment(first);
    wrongFirst[10] = (wrongFirst[10] ?? 0) ^ 1;
    expect(shape(wrongFirst, segment(second))).toEqual([1, 1]);
  });
  test("two flows that take turns are not mixed up", () => {
    const other = { ports: [5000, 80] as const };
    const all = [first, { ...first, ...other }, second, { ...second, ...other }].map(segment);
    expect(shape(...all)).toEqual([1, 1, 1, 1]);
  });
});

describe("a packet with a complete checksum", () => {
  test("goes to the device as it is, whoever it is from", () => {
    const bytes = packet(base);
    expect(receive([bytes])).toEqual([Uint8Array.from([...nothingLeft, ...bytes]).toHex()]);
  });
  test("stays behind what came before it", () => {
    const plain = packet({ ...base, payload: payload(1000), id: 9, sequence: 2001 });
    expect(shape(segment({ id: 7 }), segment({ id: 8, sequence: 1001 }), plain)).toEqual([2, 1]);
  });
  test("loses bytes behind its end", () => {
    const bytes = packet(base);
    expect(receive([Uint8Array.from([...bytes, 0, 0])])).toEqual([
      Uint8Array.from([...nothingLeft, ...bytes]).toHex(),
    ]);
  });
});

describe("a malformed datagram is dropped and counted", () => {
  const good = segment({});
  const damaged = (at: number, ...values: readonly number[]): Uint8Array => {
    const copy = Uint8Array.from(good);
    copy.set(values, at);
    return copy;
  };
  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["one byte", Uint8Array.of(0xc5)],
    ["version 1", damaged(0, 0x95)],
    ["a length beyond the datagram", damaged(2, 0xff, 0xff)],
    ["a partial checksum of ICMP", damaged(9, 1)],
    ["a partial checksum of a fragment", damaged(6, 0x20)],
    ["a TCP header beyond the packet", segment({ payload: payload(0) }).with(32, 0xf0)],
    ["a UDP length that lies", segment({ protocol: "udp" }).with(25, 3)],
    ["half a UDP header", Uint8Array.from([0xc5, 0, 0, 24, 0, 0, 0, 0, 9, 17, ...new Uint8Array(14)])],
  ])("%s", (_, given) => {
    const s = receiverStage();
    expect(s.receive({ bytes: given, unit: given.length })).toEqual([]);
    expect(s.counters.read().dropMalformed).toBe(1);
  });
  test("and the others of its run are not", () => {
    const s = receiverStage();
    const bytes = Uint8Array.from([...good, ...damaged(0, 0x95), ...good]);
    expect(s.receive({ bytes, unit: good.length }).length).toBe(2);
  });
});
