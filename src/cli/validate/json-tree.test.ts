import { describe, expect, test } from "bun:test";
import { parseTree, valueOf } from "./json-tree.ts";

describe("parseTree", () => {
  test("knows where keys and values stand", () => {
    const text = '{ "a": [1, {"b": null}] }';
    const tree = parseTree(text);
    if (!tree.ok || tree.root.kind !== "object") throw new Error("not parsed");
    const [a] = tree.root.members;
    const cut = (span?: { start: number; end: number }): string => text.slice(span?.start, span?.end);
    expect([cut(tree.root), cut(a?.keySpan), cut(a?.value)]).toEqual([text, '"a"', '[1, {"b": null}]']);
  });

  test.each([
    ["", 0, "expected a value, found the end of the text"],
    ["{", 1, "expected a key in quotes, found the end of the text"],
    ['{"a":1', 0, 'the text ends before the "{" is closed'],
    ['{"a":1,}', 6, 'a comma before "}" is one too many'],
    ["[1 2]", 3, 'expected "," or "]", found "2"'],
    ["{a:1}", 1, 'expected a key in quotes, found "a"'],
    ['{"a" 1}', 5, 'expected ":" after the key, found "1"'],
    ['{"a":tru}', 5, "tru is no value of JSON; a string needs quotes"],
    ['{"a":constructor}', 5, "constructor is no value of JSON; a string needs quotes"],
    ['["a]', 1, "the string is not closed"],
    ['["a\n"]', 1, "the string is not closed before the line ends"],
    ['["a\tb"]', 3, "a control character must be written as an escape"],
    ['["\\x"]', 2, "this escape is not one of JSON"],
    ["{} // note", 3, "the text should end here"],
    ["\ufeff{}", 0, 'expected a value, found "\ufeff"'],
    ["[".repeat(65), 64, "nested deeper than 64 levels"],
  ])("refuses %j", (text, at, why) => {
    expect(parseTree(text)).toEqual({ ok: false, at, why });
  });

  test("accepts and gives what JSON.parse does, whatever a character is changed to", () => {
    const valid =
      '{"a": [1, -2.5e+3, 0, "x\\u00e9\\n", true, false, null, {}, []], "b": {"c": "d"}, "a": 2}\n';
    const others = [
      "",
      '"',
      "\\",
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "0",
      "-",
      ".",
      "e",
      "t",
      " ",
      "\t",
      "\n",
      "\u0001",
      "é",
    ];
    for (let i = 0; i <= valid.length; i++)
      for (const other of others)
        for (const drop of [0, 1]) {
          const text = valid.slice(0, i) + other + valid.slice(i + drop);
          let wanted: { readonly value: unknown } | undefined;
          try {
            wanted = { value: JSON.parse(text) as unknown };
          } catch {
            wanted = undefined;
          }
          const tree = parseTree(text);
          expect([text, tree.ok ? { value: valueOf(tree.root) } : undefined]).toEqual([text, wanted]);
        }
  });
});
