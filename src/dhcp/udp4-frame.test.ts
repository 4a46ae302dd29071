import { describe, expect, test } from "bun:test";
import { ip } from "../testing/address.ts";
import { macOf } from "./place.ts";
import { type Datagram, decodeFrame, encodeFrame } from "./udp4-frame.ts";

const datagram: Datagram = {
  source: { mac: macOf("02:00:00:00:00:01"), ip: ip("10.0.0.1"), port: 67 },
  destination: { mac: macOf("ff:ff:ff:ff:ff:ff"), ip: ip("255.255.255.255"), port: 68 },
  payload: Uint8Array.of(1, 2, 3),
};
const frame = encodeFrame(datagram);
const flipped = (at: number): Uint8Array => frame.with(at, (frame[at] ?? 0) ^ 0x01);

/** The frame with other bytes in its IPv4 header, whose checksum is right. */
function withHeader(changes: Readonly<Record<number, number>>): Uint8Array {
  const bytes = frame.slice();
  for (const [at, value] of Object.entries({ ...changes, 24: 0, 25: 0 })) bytes[Number(at)] = value;
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
  return bytes.with(24, sum >> 8).with(25, sum & 0xff);
}

describe("a frame", () => {
  test("carries the datagram, with headers that RFC 791 and 768 describe", () => {
    expect(frame.subarray(0, 24).toHex()).toBe("ffffffffffff02000000000108004500001f000040004011");
    expect(decodeFrame(frame, false)).toEqual(datagram);
  });

  test("may be padded, as Ethernet pads short ones", () => {
    const padded = new Uint8Array(60);
    padded.set(frame);
    expect(decodeFrame(padded, false)).toEqual(datagram);
  });

  test("may lack a UDP checksum, or have one that is not computed yet", () => {
    const none = frame.with(40, 0).with(41, 0);
    expect(decodeFrame(none, false)).toEqual(datagram);
    expect(decodeFrame(flipped(41), true)).toEqual(datagram);
  });

  test.each([
    ["another kind of Ethernet", 12],
    ["another version of IP", 14],
    ["a header length that moves everything", 14],
    ["a length beyond the end", 16],
    ["a fragment", 20],
    ["another protocol", 23],
    ["a wrong IPv4 checksum", 24],
    ["a changed source", 26],
    ["a UDP length beyond the end", 38],
    ["a wrong UDP checksum", 41],
    ["a changed payload", 43],
  ])("is refused with %s", (_, at) => {
    expect(decodeFrame(flipped(at), false)).toBeUndefined();
  });

  test("is refused at every length shorter than itself", () => {
    for (let length = 0; length < frame.length; length++)
      expect(decodeFrame(frame.subarray(0, length), false)).toBeUndefined();
  });

  test.each<[string, Readonly<Record<number, number>>]>([
    ["another version", { 14: 0x65 }],
    ["a header of 16 bytes", { 14: 0x44 }],
    ["a length beyond the end", { 17: 0x20 }],
    ["a length without room for UDP", { 17: 0x1b }],
    ["more fragments to come", { 20: 0x20 }],
    ["an offset", { 21: 0x01 }],
    ["another protocol", { 23: 6 }],
  ])("is refused with %s though its checksum is right", (_, changes) => {
    expect(decodeFrame(withHeader({}), false)).toEqual(datagram);
    expect(decodeFrame(withHeader(changes), false)).toBeUndefined();
  });
});
