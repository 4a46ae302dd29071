import { describe, expect, test } from "bun:test";
import { decodeReply, encodeEcho } from "./echo.ts";

describe("an echo request", () => {
  test("of ICMP has a checksum over which all sums to ones", () => {
    const bytes = encodeEcho(4, { id: 0x1234, sequence: 7 });
    expect(bytes.length).toBe(64);
    expect(bytes.subarray(0, 2).toHex()).toBe("0800");
    const words = Array.from({ length: 32 }, (_, i) => ((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0));
    const sum = words.reduce((a, b) => a + b, 0);
    expect((sum & 0xffff) + (sum >>> 16)).toBe(0xffff);
  });

  test("of ICMPv6 leaves it to the kernel", () => {
    expect(encodeEcho(6, { id: 0x1234, sequence: 7 }).subarray(0, 8).toHex()).toBe("8000000012340007");
  });
});

describe("a reply", () => {
  const icmp = [0, 0, 0xaa, 0xbb, 0x12, 0x34, 0, 7];
  test("of ICMP is found behind a header of any length", () => {
    for (const words of [5, 6, 15])
      expect(decodeReply(4, Uint8Array.of(0x40 | words, ...Array(words * 4 - 1).fill(0), ...icmp))).toEqual({
        id: 0x1234,
        sequence: 7,
      });
  });

  test("of ICMPv6 stands alone", () => {
    expect(decodeReply(6, Uint8Array.of(129, ...icmp.slice(1)))).toEqual({ id: 0x1234, sequence: 7 });
  });

  test.each([
    ["a request", Uint8Array.of(128, ...icmp.slice(1))],
    ["one cut short", Uint8Array.of(129, 0, 0)],
    ["nothing", new Uint8Array(0)],
  ])("is not %s", (_, packet) => {
    expect(decodeReply(6, packet)).toBeUndefined();
  });
});
