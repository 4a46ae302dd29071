import { describe, expect, expectTypeOf, test } from "bun:test";
import { NetError } from "../errors.ts";
import { parseMac } from "../net/mac.ts";
import {
  anyObject,
  type Decode,
  decodeAs,
  dictionary,
  flag,
  foldKeys,
  integer,
  JSON_DEPTH_LIMIT,
  JSON_TEXT_LIMIT,
  list,
  looseFlag,
  object,
  oneOf,
  parseJson,
  parsed,
  required,
  text,
  withDefault,
  withoutKeys,
} from "./json.ts";

const complaint = (run: () => unknown): string | undefined => {
  try {
    run();
  } catch (e) {
    if (e instanceof NetError) return `${e.code}: ${e.message}`;
    throw e;
  }
  return undefined;
};

describe("foldKeys", () => {
  test.each([
    ["an exact key", { ipMasq: 1 }, 1],
    ["a key of another case", { IPMASQ: 1 }, 1],
    ["the last of several of other cases", { IPMASQ: 1, ipmasq: 2 }, 2],
    ["an exact key before later ones of other cases", { ipMasq: 1, ipmasq: 2 }, 1],
    ["a key with a long s, which folds to s", { "ipMa\u017fq": 1 }, 1],
  ])("finds %s", (_, raw, value) => {
    expect(foldKeys(raw, ["ipMasq"])).toEqual({ ipMasq: value });
  });

  test("takes null for absent and leaves out what it does not know", () => {
    expect(foldKeys({ a: null, B: 2, c: 3 }, ["a", "b"])).toEqual({ b: 2 });
  });

  test("is not misled by names that every object has", () => {
    expect(foldKeys({}, ["constructor", "toString"])).toEqual({});
    const raw = JSON.parse(`{"__proto__": {"name": "x"}}`) as Record<string, unknown>;
    expect(foldKeys(raw, ["name"])).toEqual({});
  });

  test("withoutKeys removes every spelling", () => {
    expect(withoutKeys({ Name: 1, name: 2, other: 3 }, ["name"])).toEqual({ other: 3 });
  });
});

describe("decoders", () => {
  const mustBe = <T>(decode: Decode<T>, value: unknown) => complaint(() => decode(value, "key"));

  test.each([
    ["text", text, 7, "config/invalid: key: must be a string, not the number 7"],
    ["flag", flag, "true", 'config/invalid: key: must be true or false, not the string "true"'],
    ["looseFlag", looseFlag, "yes", 'config/invalid: key: must be true or false, not the string "yes"'],
    ["integer", integer(), 1.5, "config/invalid: key: must be a whole number, not the number 1.5"],
    ["integer", integer(), "1", 'config/invalid: key: must be a whole number, not the string "1"'],
    ["integer", integer({ min: 0, max: 9 }), 10, "config/invalid: key: 10 is not within 0 and 9"],
    [
      "integer",
      integer({ min: 0 }),
      -1,
      `config/invalid: key: -1 is not within 0 and ${Number.MAX_SAFE_INTEGER}`,
    ],
    ["oneOf", oneOf("a", "b"), "c", 'config/invalid: key: "c" is not one of a, b'],
    ["parsed", parsed(parseMac), "zz", 'config/invalid: key: "zz" is not six hex pairs'],
    ["list", list(text), {}, "config/invalid: key: must be a list, not an object"],
    ["list", list(text), ["a", 1], "config/invalid: key[1]: must be a string, not the number 1"],
    ["object", anyObject, [], "config/invalid: key: must be an object, not a list"],
    [
      "dictionary",
      dictionary(flag),
      { a: 1 },
      "config/invalid: key.a: must be true or false, not the number 1",
    ],
  ] as const)("%s refuses %j", (_, decode: Decode<unknown>, value, message) => {
    expect(mustBe(decode, value)).toBe(message);
  });

  test.each([
    [true, true],
    [false, false],
    ["true", true],
    ["False", false],
    ["TRUE", true],
  ] as const)("looseFlag reads %p as %p", (value, expected) => {
    expect(looseFlag(value, "")).toBe(expected);
  });

  const read = object({
    bridge: withDefault(text, "cni0"),
    mtu: integer({ min: 0 }),
    ipam: required(object({ type: required(text), ranges: list(list(object({ subnet: text }))) })),
  });

  test("an object leaves absent keys out, fills defaults and matches case at every level", () => {
    const value = read({ IPAM: { Type: "host-local" }, unknown: 1 }, "");
    expect(value).toEqual({ bridge: "cni0", ipam: { type: "host-local" } });
    expectTypeOf(value.bridge).toEqualTypeOf<string>();
    expectTypeOf(value.mtu).toEqualTypeOf<number | undefined>();
    expectTypeOf(value.ipam.type).toEqualTypeOf<string>();
  });

  test.each([
    [{}, "config/invalid: ipam: is missing"],
    [{ ipam: {} }, "config/invalid: ipam.type: is missing"],
    [{ ipam: { type: null } }, "config/invalid: ipam.type: is missing"],
    [
      { ipam: { type: "t", ranges: [[{ subnet: "s" }, { subnet: 1 }]] } },
      "config/invalid: ipam.ranges[0][1].subnet: must be a string, not the number 1",
    ],
    ["no object", 'config/invalid: the configuration: must be an object, not the string "no object"'],
  ])("an object refuses %j and names the key", (value, message) => {
    expect(complaint(() => read(value, ""))).toBe(message);
  });

  test("decodeAs says what was read instead of blaming the configuration", () => {
    expect(complaint(() => decodeAs("reply", object({ a: text }), { a: 1 }))).toBe(
      "decode/malformed: reply: a must be a string, not the number 1",
    );
    expect(complaint(() => decodeAs("reply", anyObject, 1))).toBe(
      "decode/malformed: reply: must be an object, not the number 1",
    );
  });
});

describe("parseJson", () => {
  test("refuses text beyond the limit, without parsing it", () => {
    const long = `"${"x".repeat(JSON_TEXT_LIMIT)}"`;
    expect(complaint(() => parseJson(long, "it"))).toBe(
      `decode/malformed: it: longer than ${JSON_TEXT_LIMIT} characters`,
    );
  });

  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  test("accepts nesting up to the limit and refuses more", () => {
    expect(complaint(() => parseJson(nested(JSON_DEPTH_LIMIT), "it"))).toBeUndefined();
    expect(complaint(() => parseJson(nested(JSON_DEPTH_LIMIT + 1), "it"))).toContain("nested deeper");
  });

  test("does not count brackets inside strings", () => {
    const source = JSON.stringify({ s: `\\"${"[{".repeat(500)}` });
    expect(parseJson(source, "it")).toEqual({ s: `\\"${"[{".repeat(500)}` });
  });

  test("refuses broken text with a short reason", () => {
    const message = complaint(() => parseJson("x".repeat(10_000), "it")) ?? "";
    expect(message).toStartWith("decode/malformed: it: ");
    expect(message.length).toBeLessThan(300);
  });
});
