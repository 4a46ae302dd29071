import { expect, test } from "bun:test";
import { constructs } from "../testing/nft-constructs.ts";
import { printRule } from "./print.ts";
import { rule } from "./statement.ts";

test.each(constructs.map((c) => [c.text, c] as const))("prints `%s` as nft does", (text, c) => {
  // nft prints counters with what they have counted.
  const counted = text.replaceAll(/counter(?! packets)/g, "counter packets 0 bytes 0");
  expect(printRule(rule(c.family, c.statements))).toBe(counted);
});

test("names what it does not understand", () => {
  expect(printRule({ expressions: [{ kind: "opaque", name: "synproxy", bytes: new Uint8Array() }] })).toBe(
    "[synproxy]",
  );
  expect(
    printRule({
      expressions: [
        { kind: "payload", base: "network", offsetBytes: 1, lengthBytes: 1, into: 0 },
        { kind: "cmp", from: 0, op: "==", bytes: Uint8Array.of(6) },
        { kind: "immediate", verdict: "accept" },
      ],
    }),
  ).toBe("@nh,8,8 0x06 accept");
});
