/** What a sender cuts a receiver joins, for any packet; and no bytes whatever leave the bounds of either. Prints its seed. */
import { expect, test } from "bun:test";
import { cidr, ip } from "../testing/address.ts";
import { receiverStage, runsOf, senderStage } from "../testing/packet-path.ts";
import { oneHopOn, packet, type PacketSpec, partial, segmentsOf, virtio } from "../testing/packets.ts";
import { diceOf, seed } from "../testing/seed.ts";

const dice = diceOf(seed, "forwarder");
const noise = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + length) & 0xff;
  for (let i = 0; i < 4 && length > 0; i++) bytes[dice(length)] = dice(256);
  return bytes;
};
const peer = {
  id: "peer",
  subnets: [cidr("10.0.0.0/8"), cidr("fd00::/8")],
  ip: ip("192.0.2.1"),
  port: 8285,
};
const heddleSender = senderStage([{ ...peer, heddle: true }]);
const plainSender = senderStage([{ ...peer, heddle: false }]);
const receiver = receiverStage();

function randomPacket(): PacketSpec {
  const v6 = dice(2) === 1;
  return {
    from: v6 ? "fd00::1" : "10.0.0.1",
    to: v6 ? "fd00::2" : "10.0.0.2",
    protocol: dice(2) === 1 ? "tcp" : "udp",
    payload: noise(dice(dice(8) === 0 ? 9000 : 3000)),
    hops: 2 + dice(200),
    tos: dice(256),
    id: dice(0x1_0000),
    sequence: dice(0x1_0000) * 0x1_0000 + dice(0x1_0000),
    ack: dice(1000),
    flags: dice(4) === 0 ? dice(256) : 0x10 | (dice(2) * 8) | dice(2),
    window: dice(0x1_0000),
    ...(dice(4) === 0 && !v6 ? { ipOptions: noise(4 * dice(11)) } : {}),
    ...(dice(2) === 0 ? { tcpOptions: noise(4 * dice(11)) } : {}),
  };
}

/** What a wire would carry of a packet with the device's header before it. */
const onWire = (written: Uint8Array): readonly Uint8Array[] =>
  segmentsOf(written.subarray(10), (written[4] ?? 0) + (written[5] ?? 0) * 256);

test(`any packet arrives as what its segments are on a wire (seed ${seed})`, () => {
  for (let round = 0; round < 250; round++) {
    const bytes = packet(randomPacket());
    const size = 40 + dice(1400);
    const given = Uint8Array.from([...virtio(bytes, size), ...partial(bytes)]);
    const wanted = segmentsOf(oneHopOn(bytes), size).map((b) => b.toHex());
    const plain = plainSender.send(given).map((sent) => sent.bytes);
    expect(plain.map((b) => b.toHex())).toEqual(wanted);
    const written = receiver.receive(...runsOf(heddleSender.send(given).map((sent) => sent.bytes)));
    expect(written.flatMap(onWire).map((b) => b.toHex())).toEqual(wanted);
    expect(
      receiver
        .receive(...runsOf(plain))
        .flatMap(onWire)
        .map((b) => b.toHex()),
    ).toEqual(wanted);
  }
});

test(`damaged packets are sent within bounds or dropped (seed ${seed})`, () => {
  const own = { v4: ip("10.0.0.9").bytes, v6: ip("fd00::9").bytes };
  const senders = [true, false].map((heddle) =>
    senderStage([{ ...peer, subnets: [cidr("10.0.0.0/15"), cidr("fd00::/64")], heddle }], { own }),
  );
  for (let round = 0; round < 2500; round++) {
    const bytes = packet({ ...randomPacket(), payload: noise(dice(300)) });
    const given = Uint8Array.from([...virtio(bytes, dice(100)), ...bytes]);
    for (let i = dice(6); i >= 0; i--) given[dice(Math.min(given.length, 80))] = dice(256);
    const cut = given.subarray(0, dice(8) === 0 ? dice(given.length) : given.length);
    for (const sender of senders) {
      const sent = sender.send(cut);
      // Cut or not, at most so many bytes of headers are added for each byte of payload.
      expect(sent.reduce((n, d) => n + d.bytes.length, 0)).toBeLessThanOrEqual(cut.length * 129);
    }
    const run = cut.subarray(10);
    receiver.receive({ bytes: run, unit: dice(3) === 0 ? 1 + dice(run.length + 1) : run.length });
  }
});

test("noise is never written to the device as more than it is", () => {
  for (let round = 0; round < 3000; round++) {
    const bytes = Uint8Array.from({ length: 20 + dice(100) }, () => dice(256));
    bytes[0] = [0x45, 0xc5, 0x60, 0xe0][dice(4)] ?? 0;
    const written = receiver.receive({ bytes, unit: bytes.length });
    expect(written.reduce((n, b) => n + b.length - 10, 0)).toBeLessThanOrEqual(bytes.length);
  }
});
