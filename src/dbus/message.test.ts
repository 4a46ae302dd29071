import { describe, expect, test } from "bun:test";
import { readGolden } from "../testing/golden.ts";
import { DecodeError } from "../wire/attrs.ts";
import { decodeMessage, encodeCall, messageBytes } from "./message.ts";

const captures = readGolden(new URL("golden/messages.txt", import.meta.url));
const call = captures[0]?.bytes ?? new Uint8Array();
const answers = captures.filter((c) => c.expect !== undefined);
const list = answers.at(-1)?.bytes ?? new Uint8Array();

describe("encodeCall", () => {
  test("writes what dbus-send writes, and asks that no service be started", () => {
    const mine = encodeCall(
      {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member: "NameHasOwner",
        args: ["org.fedoraproject.FirewallD1"],
      },
      2,
    );
    const theirs = call.slice();
    theirs[2] = 2;
    expect(mine.toHex()).toBe(theirs.toHex());
  });
  test("writes arguments behind one another, each at its alignment", () => {
    const two = encodeCall(
      { destination: "a", path: "/", interface: "b", member: "c", args: ["x", "yz"] },
      1,
    );
    expect(two.slice(-15).toHex()).toBe("010000007800000002000000797a00");
    expect(messageBytes(two)).toBe(two.length);
  });
});

describe("decodeMessage", () => {
  test.each(answers)("reads $command", ({ bytes, expect: wanted }) => {
    expect(messageBytes(bytes)).toBe(bytes.length);
    expect(decodeMessage(bytes)).toEqual(wanted as ReturnType<typeof decodeMessage>);
  });
  test("reads the other byte order", () => {
    // A return with a u32 in its header, and a list of two 16-bit numbers and one signed number.
    const hex =
      "42020001 00000010 00000007 00000010" +
      "05017500 00000009" +
      "08016700 0261" +
      "7100" +
      "00000004 0001 ff00";
    const bytes = Uint8Array.fromHex(hex.replaceAll(" ", ""));
    bytes[7] = 8;
    expect(decodeMessage(bytes)).toEqual({
      kind: "return",
      replyTo: 9,
      errorName: "",
      values: [[1, 0xff00]],
    });
  });
  test("knows how long a message is from its first sixteen bytes, and not before", () => {
    expect(messageBytes(list.subarray(0, 15))).toBeUndefined();
    expect(messageBytes(list.subarray(0, 16))).toBe(list.length);
  });
  const spoiled = (at: number, value: number): Uint8Array => {
    const bytes = list.slice();
    bytes[at] = value;
    return bytes;
  };
  test.each([
    ["a byte order that there is not", spoiled(0, 0x78)],
    ["a type that there is not", spoiled(1, 9)],
    ["a message of sixteen million bytes", spoiled(7, 1)],
    ["a list that is longer than its message", spoiled(80, 0x26)],
    ["a text that is longer than its list", spoiled(84, 0x24)],
    ["a message cut short", list.subarray(0, list.length - 1)],
  ])("refuses %s", (_, bytes) => {
    expect(() => decodeMessage(bytes)).toThrow(DecodeError);
  });
  test("refuses a type that no answer here has, and takes it in a signal, which nobody reads", () => {
    const signature = list.findIndex((b, i) => b === 0x61 && list[i + 1] === 0x73);
    const odd = spoiled(signature + 1, 0x78);
    expect(() => decodeMessage(odd)).toThrow('type "x"');
    odd[1] = 4;
    expect(decodeMessage(odd).values).toEqual([]);
  });
  test("decodes any bytes or raises DecodeError", () => {
    const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
    let state = seed;
    const random = (below: number): number => (state = (state * 48271 + 11) % 2147483647) % below;
    for (let i = 0; i < 3000; i++) {
      const bytes = (answers[random(answers.length)]?.bytes ?? list).slice();
      for (let n = random(4); n >= 0; n--) bytes[random(bytes.length)] = random(256);
      try {
        decodeMessage(bytes);
      } catch (e) {
        if (!(e instanceof DecodeError)) throw new Error(`seed ${seed}, round ${i}`, { cause: e });
      }
    }
  });
});
