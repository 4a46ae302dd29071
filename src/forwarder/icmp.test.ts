import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import { packet, type PacketSpec, plainSum } from "../testing/packets.ts";
import { ANSWER_BYTES, isAnswered, type Reason, writeAnswer } from "./icmp.ts";
import { newHead, readIp } from "./packet.ts";

const four: PacketSpec = {
  from: "10.0.9.1",
  to: "10.0.3.1",
  protocol: "udp",
  payload: new Uint8Array(900).fill(7),
};
const six: PacketSpec = {
  ...four,
  from: "fd00:9::1",
  to: "fd00:3::1",
  payload: new Uint8Array(1400).fill(7),
};
const AT = ANSWER_BYTES;

function memoryWith(bytes: Uint8Array) {
  const memory = new Uint8Array(AT + bytes.length);
  memory.set(bytes, AT);
  const view = new DataView(memory.buffer);
  const head = newHead();
  if (!readIp(view, AT, bytes.length, head)) throw new TypeError("no packet");
  return { bytes: memory, view, head };
}
function answer(spec: PacketSpec, reason: Reason, mtu = 0): Uint8Array {
  const memory = memoryWith(packet(spec));
  const own = ip(memory.head.family === 4 ? "10.0.9.254" : "fd00:9::fe").bytes;
  const length = writeAnswer(memory, 0, reason, AT, memory.head, own, mtu);
  return memory.bytes.slice(0, length);
}

describe("an answer", () => {
  test("over IPv4 goes back to the sender with the beginning of its packet, at most 576 bytes, sums right", () => {
    const bytes = answer(four, "no route");
    expect(bytes.length).toBe(576);
    expect(bytes.subarray(0, 20).toHex().slice(0, 16)).toBe("4500024000000000");
    expect(bytes.subarray(12, 20)).toEqual(Uint8Array.from([10, 0, 9, 254, 10, 0, 9, 1]));
    expect([plainSum(bytes.subarray(0, 20)), plainSum(bytes.subarray(20))]).toEqual([0xffff, 0xffff]);
    expect(bytes.subarray(28)).toEqual(packet(four).subarray(0, 548));
  });

  test("over IPv6 has at most 1,280 bytes, and its sum has the addresses in it", () => {
    const bytes = answer(six, "expired");
    expect(bytes.length).toBe(1280);
    const pseudo = [...bytes.subarray(8, 40), 0, 58, 1240 >> 8, 1240 & 255];
    expect(plainSum(Uint8Array.from([...pseudo, ...bytes.subarray(40)]))).toBe(0xffff);
    expect(bytes.subarray(24, 40)).toEqual(ip("fd00:9::1").bytes);
    expect(bytes.subarray(48)).toEqual(packet(six).subarray(0, 1232));
  });

  test.each<[Reason, readonly number[], readonly number[]]>([
    ["no route", [3, 0], [1, 0]],
    ["too big", [3, 4], [2, 0]],
    ["expired", [11, 0], [3, 0]],
  ])("%s has its type and code", (reason, v4, v6) => {
    expect([...answer(four, reason).subarray(20, 22)]).toEqual([...v4]);
    expect([...answer(six, reason).subarray(40, 42)]).toEqual([...v6]);
  });

  test("too big says what would fit, where each family has it", () => {
    expect(answer(four, "too big", 1300).subarray(24, 28).toHex()).toBe("00000514");
    expect(answer(six, "too big", 1300).subarray(44, 48).toHex()).toBe("00000514");
    expect(answer(four, "no route", 1300).subarray(24, 28).toHex()).toBe("00000000");
  });
});

describe("no answer", () => {
  const icmp = (spec: PacketSpec, type: number): Uint8Array => {
    const bytes = packet({ ...spec, payload: new Uint8Array(20) });
    const v4 = (bytes[0] ?? 0) >> 4 === 4;
    bytes[v4 ? 9 : 6] = v4 ? 1 : 58;
    bytes[v4 ? 20 : 40] = type;
    return bytes;
  };
  const answered = (bytes: Uint8Array): boolean => {
    const { view, head } = memoryWith(bytes);
    return isAnswered(view, AT, head);
  };
  test.each<[string, Uint8Array, boolean]>([
    ["a packet", packet(four), true],
    ["an echo request", icmp(four, 8), true],
    ["an echo reply over IPv6", icmp(six, 129), true],
    ["an error", icmp(four, 3), false],
    ["an error over IPv6", icmp(six, 1), false],
    ["ICMP without a type", icmp(four, 8).with(3, 20), false],
    ["the first fragment", packet(four).with(6, 0x20), true],
    ["a later fragment", packet(four).with(7, 9), false],
    ["a packet from nobody", packet({ ...four, from: "0.0.0.0" }), false],
    ["a packet from the loopback", packet({ ...four, from: "127.0.0.1" }), false],
    ["a packet for many", packet({ ...four, to: "224.0.0.5" }), false],
    ["a packet from many", packet({ ...four, from: "239.0.0.5" }), false],
    ["a packet of a link over IPv6", packet({ ...six, from: "fe80::1" }), false],
    ["a packet from nobody over IPv6", packet({ ...six, from: "::" }), false],
    ["a packet for many over IPv6", packet({ ...six, to: "ff02::1" }), false],
  ])("%s", (_, bytes, wanted) => expect(answered(bytes)).toBe(wanted));
});
