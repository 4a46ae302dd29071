import { describe, expect, expectTypeOf, test } from "bun:test";
import { attrs, bytes, cstr, DecodeError, fixedAttr, flag, listOf, repeated } from "./attrs.ts";
import { be16, be32, encodeFixed, i32, pad, struct, u16, u32, u8, type Value, viewOf } from "./fixed.ts";

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/[0-9a-f]{2}/gi) ?? [], (h) => Number.parseInt(h, 16));

const sample = struct("sample", 12, { family: u8, _pad: pad(3), index: i32, state: u16, port: be16 });

describe("struct", () => {
  test("reads and writes its fields where the kernel has them", () => {
    const raw = hex("02000000 03000000 0200 0050");
    const value = sample.get(viewOf(raw), 0);
    expect(value).toEqual({ family: 2, index: 3, state: 2, port: 80 });
    expect(encodeFixed(sample, value)).toEqual(raw);
  });

  test("writes zero into padding whatever was there", () => {
    const raw = new Uint8Array(12).fill(0xff);
    sample.set(viewOf(raw), 0, { family: 2, index: 3, state: 2, port: 80 });
    expect([...raw.subarray(1, 4)]).toEqual([0, 0, 0]);
  });

  test("infers its type from the fields", () => {
    expectTypeOf<Value<typeof sample>>().toEqualTypeOf<{
      family: number;
      index: number;
      state: number;
      port: number;
    }>();
  });

  test("refuses a size that is not the sum of its fields", () => {
    expect(() => struct("x", 3, { a: u8 })).toThrow("fields add up to 1 bytes, the kernel says 3");
  });

  test("looks only at its own bytes of a larger buffer", () => {
    const raw = hex("ffffffff 02000000 03000000 0200 0050 ffffffff").subarray(4, 16);
    expect(sample.get(viewOf(raw), 0).index).toBe(3);
  });
});

const inner = attrs("INNER", { name: [1, cstr] });
const table = attrs("T", {
  address: [1, bytes],
  count: [2, fixedAttr(u32)],
  port: [3, fixedAttr(be32)],
  names: [4, repeated(cstr)],
  inner: [5, inner],
  there: [6, flag],
  list: [7, listOf("LIST", 1, fixedAttr(u32))],
});

describe("attribute tables", () => {
  test("give back what they were given", () => {
    const value = {
      address: hex("ac110201"),
      count: 7,
      port: 80,
      names: ["a", "bc"],
      inner: { name: "x" },
      there: true as const,
      list: [1, 2],
    };
    expect(table.decode(table.encode(value))).toEqual(value);
  });

  test("keep attributes that nobody listed, with their flags, and write them back unchanged", () => {
    const raw = hex("08000100 ac110201 08000200 01000000 0800 6380 deadbeef");
    const value = table.decode(raw);
    expect(value.unknown?.[0]).toEqual({ type: 0x63, flags: 0x8000, bytes: hex("deadbeef") });
    expect(table.encode(value)).toEqual(raw);
  });

  test("keep what they decoded when the receive buffer is used again", () => {
    const raw = hex("08000100 ac110201");
    const value = table.decode(raw);
    raw.fill(0);
    expect(value.address).toEqual(hex("ac110201"));
  });

  test.each([
    ["a header cut short", "0800"],
    ["a length past the end", "ff000100 00000000"],
    ["a length below the header", "02000100"],
  ])("refuse %s", (_name, text) => {
    expect(() => table.decode(hex(text))).toThrow(DecodeError);
  });

  test("name the attribute that is wrong, by its path", () => {
    expect(() => table.decode(hex("06000200 01000000"))).toThrow("T.count: expected 4 bytes, got 2");
    expect(() => table.decode(hex("0c000780 06000100 01000000"))).toThrow(
      "T.list: LIST.item: expected 4 bytes, got 2",
    );
  });

  test("refuse two names with one number and a value that does not fit", () => {
    const twice = attrs("X", { a: [1, cstr], b: [1, cstr] });
    expect(() => twice.encode({})).toThrow("share a number");
    expect(() => table.encode({ address: new Uint8Array(70_000) })).toThrow("longer than 65535 bytes");
  });

  test("make every key optional and infer its type", () => {
    expectTypeOf<ReturnType<typeof table.decode>["count"]>().toEqualTypeOf<number | undefined>();
    expectTypeOf<ReturnType<typeof table.decode>["names"]>().toEqualTypeOf<readonly string[] | undefined>();
  });
});

test("any bytes decode or raise DecodeError, and what decodes encodes again", () => {
  const seed = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
  let state = seed;
  const random = (): number => (state = (state * 1_103_515_245 + 12_345) & 0x7fffffff) / 0x7fffffff;
  for (let i = 0; i < 50_000; i++) {
    const raw = Uint8Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256));
    if (random() < 0.7 && raw.length > 3)
      raw.set([4 + Math.floor(random() * 12), 0, Math.floor(random() * 8), 0]);
    try {
      const value = table.decode(raw);
      expect(table.decode(table.encode(value))).toEqual(value);
    } catch (e) {
      if (!(e instanceof DecodeError)) throw new Error(`seed ${seed}, round ${i}`, { cause: e });
    }
  }
});
