import { describe, expect, test } from "bun:test";
import { parseXml } from "./xml.ts";

describe("parseXml", () => {
  test("reads elements, attributes and text", () => {
    expect(parseXml('<a b="1 &amp; 2"><c/>x &lt; y</a>\n')).toEqual({
      name: "a",
      attributes: { b: "1 & 2" },
      text: "x < y",
      children: [{ name: "c", attributes: {}, text: "", children: [] }],
    });
  });

  test.each([
    "",
    "text",
    "<a>",
    "<a></b>",
    "<a/><b/>",
    "<a></a></a>",
    "<a>&</a>",
    "<a>&nbsp;</a>",
    "<a>\u0001</a>",
    '<a b="1" b="2"/>',
    "<a b=1/>",
    '<a b="<"/>',
  ])("refuses %j", (text) => {
    expect(() => parseXml(text)).toThrow("XML: ");
  });
});
