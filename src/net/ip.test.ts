import { describe, expect, test } from "bun:test";
import {
  addToIp,
  compareIp,
  contains,
  fromBigInt,
  hostPrefix,
  ipFromBytes,
  isLoopback,
  isUnspecified,
  lastIp,
  network,
  overlaps,
  parseIp,
  parsePrefix,
  prefix,
  toBigInt,
} from "./ip.ts";
import { cidr, ip } from "../testing/address.ts";

describe("parseIp", () => {
  test.each([
    ["10.0.0.1", "10.0.0.1"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8::1", "2001:db8::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:0db8:0000:0001:0001:0001:0001:0001", "2001:db8:0:1:1:1:1:1"],
    ["fe80::1:0:0:0", "fe80::1:0:0:0"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["1::", "1::"],
  ])("prints %s in its one form %s", (text, printed) => {
    expect(ip(text).text).toBe(printed);
    expect(ip(printed).text).toBe(printed);
  });

  test.each([
    "",
    "10.0.0",
    "10.0.0.256",
    "10.0.0.01",
    "10.0.0.1.2",
    " 10.0.0.1",
    "0x0a.0.0.1",
    ":",
    ":::",
    "1::2::3",
    "12345::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "fe80::1%eth0",
    "::1.2.3",
    "g::",
  ])("refuses %p", (text) => {
    expect(parseIp(text).ok).toBe(false);
  });
});

describe("parsePrefix", () => {
  test("keeps the host bits that were written", () => {
    expect(cidr("10.1.2.3/24").text).toBe("10.1.2.3/24");
    expect(network(cidr("10.1.2.3/24")).text).toBe("10.1.2.0/24");
    expect(network(cidr("fd00::1234/64")).text).toBe("fd00::/64");
  });

  test.each(["10.0.0.1", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "fd00::/129", "/24", "10.0.0.0/"])(
    "refuses %p",
    (text) => {
      expect(parsePrefix(text).ok).toBe(false);
    },
  );
});

describe("address arithmetic", () => {
  test("goes over the bytes and stays in its family", () => {
    expect(addToIp(ip("10.0.0.255"), 1n).text).toBe("10.0.1.0");
    expect(addToIp(ip("fd00::ffff"), 1n).text).toBe("fd00::1:0");
    expect(addToIp(ip("255.255.255.255"), 1n).text).toBe("0.0.0.0");
    expect(lastIp(cidr("10.0.0.0/22")).text).toBe("10.0.3.255");
    expect(lastIp(cidr("fd00::/126")).text).toBe("fd00::3");
  });

  test("a number and back is the same address", () => {
    for (const text of ["0.0.0.0", "1.2.3.4", "::", "fd00::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
      expect(fromBigInt(toBigInt(ip(text)), ip(text)).text).toBe(text);
  });

  test("a prefix contains its own addresses and those of no other family", () => {
    expect(contains(cidr("10.1.0.0/16"), ip("10.1.255.255"))).toBe(true);
    expect(contains(cidr("10.1.0.0/16"), ip("10.2.0.0"))).toBe(false);
    expect(contains(cidr("0.0.0.0/0"), ip("fd00::1"))).toBe(false);
    expect(contains(cidr("::/0"), ip("fd00::1"))).toBe(true);
  });

  test("prefixes overlap if one holds the other", () => {
    expect(overlaps(cidr("10.0.0.0/8"), cidr("10.9.0.0/16"))).toBe(true);
    expect(overlaps(cidr("10.9.0.0/16"), cidr("10.0.0.0/8"))).toBe(true);
    expect(overlaps(cidr("10.9.0.0/16"), cidr("10.8.0.0/16"))).toBe(false);
  });

  test("IPv4 sorts before IPv6 and each family by its number", () => {
    const sorted = ["fd00::1", "10.0.0.2", "9.255.0.1", "::1"].map(ip).toSorted(compareIp);
    expect(sorted.map((a) => a.text)).toEqual(["9.255.0.1", "10.0.0.2", "::1", "fd00::1"]);
  });

  test("the special addresses are known", () => {
    expect(["127.0.0.1", "127.255.0.9", "::1"].map((a) => isLoopback(ip(a)))).toEqual([true, true, true]);
    expect(isLoopback(ip("128.0.0.1"))).toBe(false);
    expect(["0.0.0.0", "::"].map((a) => isUnspecified(ip(a)))).toEqual([true, true]);
    expect(hostPrefix(ip("fd00::1")).bits).toBe(128);
  });

  test("impossible lengths are a mistake of the caller", () => {
    expect(() => prefix(ip("10.0.0.1"), 33)).toThrow(RangeError);
    expect(() => ipFromBytes(new Uint8Array(5))).toThrow(RangeError);
  });
});

test("bytes of an address from the kernel are copied", () => {
  const bytes = Uint8Array.of(10, 0, 0, 1);
  const made = ipFromBytes(bytes);
  bytes[3] = 9;
  expect(made.text).toBe("10.0.0.1");
  expect([...made.bytes]).toEqual([10, 0, 0, 1]);
});
