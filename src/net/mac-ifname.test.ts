import { describe, expect, expectTypeOf, test } from "bun:test";
import { IF_NAME_BYTES, parseIfName } from "./ifname.ts";
import { localMac, type Mac, macFromBytes, macToBytes, parseMac } from "./mac.ts";

describe("parseMac", () => {
  test("reads upper case and dashes and prints lower case with colons", () => {
    const parsed = parseMac("AA-bb-CC-dd-EE-ff");
    if (!parsed.ok) throw new Error(parsed.why);
    expectTypeOf(parsed.value).toEqualTypeOf<Mac>();
    expect(String(parsed.value)).toBe("aa:bb:cc:dd:ee:ff");
    expect([...macToBytes(parsed.value)]).toEqual([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
  });

  test.each([
    "",
    "aa:bb:cc:dd:ee",
    "aa:bb:cc:dd:ee:ff:00",
    "aabbccddeeff",
    "gg:bb:cc:dd:ee:ff",
    "a:b:c:d:e:f",
  ])("refuses %p", (text) => {
    expect(parseMac(text).ok).toBe(false);
  });
});

test("a made address is unicast and locally administered whatever the random bytes are", () => {
  for (const first of [0x00, 0x01, 0xff, 0xfe]) {
    const made = macToBytes(localMac(Uint8Array.of(first, 1, 2, 3, 4, 5)));
    expect((made[0] ?? 0) & 0x03).toBe(0x02);
  }
});

test("a hardware address of another length is none", () => {
  expect(macFromBytes(new Uint8Array(20))).toBeUndefined();
});

describe("parseIfName", () => {
  test.each(["eth0", "a", "x".repeat(IF_NAME_BYTES), "eth0.5", "br-1_2", "é1234567890123"])(
    "takes %p",
    (name) => {
      expect(parseIfName(name).ok).toBe(true);
    },
  );

  test.each([
    "",
    ".",
    "..",
    "x".repeat(IF_NAME_BYTES + 1),
    "a/b",
    "a:b",
    "a b",
    "a\tb",
    "a\u00a0b",
    "a\u0085b",
    "a\u0000b",
    "ééééééééa",
    // The kernel would make `eth0` of it.
    "eth%d",
    "all",
    "default",
  ])("refuses %p, as the kernel does", (name) => {
    expect(parseIfName(name).ok).toBe(false);
  });
});
