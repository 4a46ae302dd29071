import { describe, expect, test } from "bun:test";
import { parseGolden } from "./golden.ts";

describe("parseGolden", () => {
  test("reads two captures of one file with their facts and bytes", () => {
    const text = [
      "# A file may begin with words.",
      "# command: ip link show    ",
      '# expect: {"a":[1]}',
      "0102 0304   # header ff",
      "05",
      "# command: ip addr show",
      "ff",
    ].join("\n");
    const [first, second] = parseGolden(text, "x");
    expect(first?.command).toBe("ip link show");
    expect(first?.expect).toEqual({ a: [1] });
    expect([...(first?.bytes ?? [])]).toEqual([1, 2, 3, 4, 5]);
    expect(second?.expect).toBeUndefined();
    expect([...(second?.bytes ?? [])]).toEqual([255]);
  });

  test.each([
    ["half a byte", "# command: x\n012"],
    ["a word that is not hexadecimal", "# command: x\nzz"],
    ["bytes before the first command", "01\n# command: x"],
    ["a file without a capture", "# nothing"],
  ])("refuses %s", (_, text) => {
    expect(() => parseGolden(text, "x")).toThrow("x");
  });
});
