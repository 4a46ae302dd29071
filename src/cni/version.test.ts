import { describe, expect, test } from "bun:test";
import {
  atLeast,
  compareVersionNumbers,
  compareVersions,
  highestCommon,
  knownVersion,
  parseVersion,
  reconcile,
  type VersionNumbers,
  versions,
} from "./version.ts";

const numbers = (text: string): VersionNumbers => {
  const parsed = parseVersion(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.value;
};

describe("parseVersion", () => {
  test.each([
    ["", [0, 1, 0]],
    ["1", [1, 0, 0]],
    ["0.4", [0, 4, 0]],
    ["0.3.1", [0, 3, 1]],
    ["10.20.30", [10, 20, 30]],
  ] as const)("reads %j", (text, expected) => {
    expect(numbers(text)).toEqual(expected);
  });

  test.each(["1.2.3.4", "1.0.0-rc1", "v1.0.0", "a", "1..0", ".", "1.", "-1.0.0", "1.0.0 ", "0x1.0", "1e3"])(
    "refuses %j",
    (text) => {
      expect(parseVersion(text).ok).toBe(false);
    },
  );
});

describe("comparing", () => {
  test.each([
    ["1.2.34", "1.2.14", 1],
    ["2.5.4", "2.4.4", 1],
    ["1.2.3", "0.2.3", 1],
    ["0.1.2", "0.1.3", -1],
    ["0.1.2", "0.2.0", -1],
    ["0.4.0", "1.0.0", -1],
    ["0.10.0", "0.9.0", 1],
    ["0.3.0", "0.3", 0],
    ["", "0.1.0", 0],
  ])("%j with %j", (a, b, sign) => {
    expect(Math.sign(compareVersionNumbers(numbers(a), numbers(b)))).toBe(sign);
  });

  test("known versions compare as their numbers do", () => {
    for (const a of versions)
      for (const b of versions) {
        expect(Math.sign(compareVersions(a, b))).toBe(
          Math.sign(compareVersionNumbers(numbers(a), numbers(b))),
        );
        expect(atLeast(a, b)).toBe(compareVersions(a, b) >= 0);
      }
  });
});

describe("agreeing", () => {
  test("a version is known by its exact text, and no text is 0.1.0", () => {
    expect(knownVersion("")).toBe("0.1.0");
    expect(knownVersion("1.0.0")).toBe("1.0.0");
    expect(knownVersion("1.0")).toBeUndefined();
    expect(knownVersion("01.0.0")).toBeUndefined();
  });

  test("reconcile gives the version if the plugin lists it", () => {
    expect(reconcile("0.4.0", ["0.3.0", "0.4.0"])).toBe("0.4.0");
  });

  test.each(["0.1.0", "", "0.5.0", "1.1", "x"])("reconcile refuses %j and says what is supported", (text) => {
    expect(() => reconcile(text, ["0.3.0", "0.4.0"])).toThrow(
      `CNI version "${text}" is not supported; supported are 0.3.0, 0.4.0`,
    );
  });
});

describe("highestCommon", () => {
  test.each([
    [undefined, [], "0.1.0"],
    ["", [], "0.1.0"],
    ["0.4.0", [], "0.4.0"],
    [undefined, ["0.3.0", "1.0.0", "0.4.0"], "1.0.0"],
    ["0.4.0", ["0.3.0", "0.3.1"], "0.4.0"],
    ["0.3.0", ["0.4.0", "1.1.0"], "1.1.0"],
    ["0.4.0", ["1.2.0", "1000.0.0", "1.0.0"], "1.0.0"],
    ["3.0.0", ["0.4.0"], "0.4.0"],
    ["1.0.0", ["0.9.0"], "1.0.0"],
  ] as const)("of %p and %j is %s", (own, more, expected) => {
    expect(highestCommon(own, more)).toBe(expected);
  });

  test.each([
    ["1.2.3.4", []],
    ["1.0.0", ["garbage"]],
    [undefined, ["1.0.0-rc1"]],
  ])("refuses %p and %j, which are no versions", (own, more) => {
    expect(() => highestCommon(own, more)).toThrow("is not a version");
  });

  test("refuses a configuration that is newer than this program in every version", () => {
    expect(() => highestCommon("2.0.0", ["3.0.0"])).toThrow("2.0.0, 3.0.0");
  });
});
