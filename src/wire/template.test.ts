import { describe, expect, test } from "bun:test";
import { attrs, bytes, DecodeError } from "./attrs.ts";
import { lastTemplate, template } from "./template.ts";

const table = attrs("T", { a: [1, bytes], b: [2, bytes], c: [3, bytes] });
const HEAD = 4;
const written = (a: number[], b: number[]): Uint8Array =>
  Uint8Array.of(
    9,
    9,
    9,
    9,
    ...table.encode({ a: Uint8Array.from(a), b: Uint8Array.from(b), c: Uint8Array.of(7) }),
  );

describe("a template", () => {
  const made = template(written([0, 0, 0], [0, 0]), HEAD, 2, 1);

  test("writes what its table writes, padding and all", () => {
    expect(made.fill(Uint8Array.of(5, 6), Uint8Array.of(1, 2, 3))).toEqual(written([1, 2, 3], [5, 6]));
    expect(made.fill(Uint8Array.of(8, 8), Uint8Array.of(4, 4, 4))).toEqual(written([4, 4, 4], [8, 8]));
  });

  test("refuses a payload of another length, or none", () => {
    expect(() => made.fill(Uint8Array.of(5), Uint8Array.of(1, 2, 3))).toThrow("a payload does not fit");
    expect(() => made.fill(Uint8Array.of(5, 6))).toThrow("a payload does not fit");
  });

  test("needs the attributes in its sample", () => {
    expect(() => template(written([1], [2]), HEAD, 4)).toThrow(DecodeError);
  });
});

test("a template is made anew when something else is not the same", () => {
  const asked: number[] = [];
  const of = lastTemplate<number>(
    (a, b) => a === b,
    (n) => (asked.push(n), template(written([n], [2]), HEAD, 2)),
  );
  expect(of(1)).toBe(of(1));
  expect(of(2).fill(Uint8Array.of(7))).toEqual(written([2], [7]));
  expect(of(1).fill(Uint8Array.of(7))).toEqual(written([1], [7]));
  expect(asked).toEqual([1, 2, 1]);
});
