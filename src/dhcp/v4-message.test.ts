import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { macOf } from "./place.ts";
import { decode4, encode4, type Message4 } from "./v4-message.ts";
import { OPTION } from "./v4-options.ts";

const discover: Message4 = {
  from: "client",
  xid: 0x12345678,
  seconds: 3,
  broadcast: true,
  ciaddr: ip("0.0.0.0"),
  yiaddr: ip("0.0.0.0"),
  giaddr: ip("0.0.0.0"),
  mac: macOf("02:00:00:00:00:05"),
  options: new Map([
    [OPTION.messageType, Uint8Array.of(1)],
    [OPTION.hostName, new TextEncoder().encode("box")],
  ]),
};

/** Where options begin: after the header and the cookie. */
const OPTIONS_AT = 240;
const SNAME_AT = 44;
const FILE_AT = 108;

/** A message whose three fields of options are these. */
function withFields(
  options: readonly number[],
  file: readonly number[] = [],
  sname: readonly number[] = [],
): Uint8Array {
  const bytes = new Uint8Array(OPTIONS_AT + options.length);
  bytes.set(encode4({ ...discover, options: new Map() }).subarray(0, OPTIONS_AT));
  bytes.set(options, OPTIONS_AT);
  bytes.set(file, FILE_AT);
  bytes.set(sname, SNAME_AT);
  return bytes;
}

const refusal = (bytes: Uint8Array): string => {
  try {
    decode4(bytes);
  } catch (e) {
    if (e instanceof NetError && e.is("decode/malformed")) return e.message;
    throw e;
  }
  return "taken";
};

describe("a DHCPv4 message", () => {
  test("comes out of its bytes as it went in", () => {
    expect(decode4(encode4(discover))).toEqual(discover);
  });

  test("stands in the bytes where RFC 2131 wants it", () => {
    const bytes = encode4(discover);
    expect(bytes.length).toBe(300);
    expect(bytes.subarray(0, 12).toHex()).toBe("010106001234567800038000");
    expect(bytes.subarray(28, 44).toHex()).toBe("02000000000500000000000000000000");
    expect(bytes.subarray(236, 252).toHex()).toBe("638253633501010c03626f78ff000000");
  });

  test("keeps a value longer than 255 bytes, in parts on the wire (RFC 3396)", () => {
    const long = Uint8Array.from({ length: 600 }, (_, i) => i & 0xff);
    const message = { ...discover, options: new Map([[OPTION.domainSearch, long]]) };
    expect(decode4(encode4(message)).options.get(OPTION.domainSearch)).toEqual(long);
  });

  test("has the options that overflowed into file and sname, in that order", () => {
    const bytes = withFields([52, 1, 3, 12, 1, 97, 255], [12, 1, 98, 255], [12, 1, 99, 15, 1, 100, 255]);
    const { options } = decode4(bytes);
    expect(options.get(12)?.toHex()).toBe("616263");
    expect(options.get(15)?.toHex()).toBe("64");
    expect(options.has(52)).toBe(false);
  });

  test("leaves file and sname alone when nothing overflowed", () => {
    expect(decode4(withFields([12, 1, 97, 255], [15, 1, 98, 255])).options.has(15)).toBe(false);
  });

  test("needs no end mark, and padding means nothing", () => {
    expect([...decode4(withFields([0, 0, 12, 1, 97])).options.keys()]).toEqual([12]);
  });

  test.each([
    ["nothing", new Uint8Array(0)],
    ["a header cut short", withFields([]).subarray(0, 239)],
    ["another cookie", withFields([255]).with(237, 0)],
    ["another op", withFields([255]).with(0, 3)],
    ["another hardware type", withFields([255]).with(1, 6)],
    ["another length of hardware addresses", withFields([255]).with(2, 16)],
    ["an option whose length is missing", withFields([12])],
    ["an option that goes beyond the end", withFields([12, 4, 97, 98])],
    ["an overload of nothing", withFields([52, 0, 255])],
    ["an overload of an unknown field", withFields([52, 1, 4, 255])],
    ["two overloads", withFields([52, 1, 1, 52, 1, 1, 255])],
    ["an overload inside of file", withFields([52, 1, 1, 255], [52, 1, 2, 255])],
    ["an option that goes beyond file", withFields([52, 1, 1, 255], [12, 200])],
  ])("is refused: %s", (_, bytes) => {
    expect(refusal(bytes)).not.toBe("taken");
  });
});
