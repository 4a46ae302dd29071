/** The codec, against bytes of the encoding's own documentation and at its edges. */
import { describe, expect, test } from "bun:test";
import { bool, int, map, many, message, one, text } from "./protobuf.ts";

const inner = message({ n: one(1, int), flag: one(2, bool) });
const outer = message({ name: one(2, text), inner: one(3, inner), list: many(4, inner), labels: map(5) });
const bytes = (hex: string): Uint8Array => Buffer.from(hex, "hex");
const hex = (raw: bigint | Uint8Array): string =>
  typeof raw === "bigint" ? "" : Buffer.from(raw).toString("hex");

describe("a message", () => {
  test("is encoded as the documentation's examples are", () => {
    expect(hex(inner.pack({ n: 150 }))).toBe("089601");
    expect(hex(outer.pack({ name: "testing" }))).toBe("120774657374696e67");
    expect(hex(outer.pack({ inner: { n: 150 } }))).toBe("1a03089601");
  });

  test("comes back as it was", () => {
    const value = {
      name: "über",
      inner: { n: -1, flag: true },
      list: [{ n: 2 ** 40 }, { flag: false }],
      labels: { a: "b", c: "" },
    };
    expect(outer.unpack(outer.pack(value))).toEqual(value);
  });

  test("with fields that nobody declared is understood without them", () => {
    // Field 9 as a number, as eight bytes, as text and as four bytes.
    expect(inner.unpack(bytes("4801 490000000000000000 4a0161 4d00000000 0805".replaceAll(" ", "")))).toEqual(
      { n: 5 },
    );
  });

  test.each([
    ["inside of a number", "0896"],
    ["inside of a field", "120774"],
  ])("that ends %s is refused", (where, cut) => {
    expect(() => outer.unpack(bytes(cut))).toThrow(where);
  });
});
