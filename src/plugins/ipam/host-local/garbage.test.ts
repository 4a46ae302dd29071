import { expect, test } from "bun:test";
import { key } from "../../../testing/ipam.ts";
import { isGarbage } from "./garbage.ts";

const valid = [key("a", "eth0"), key("b", "net1")];

test.each([
  ["a valid attachment", "a\r\neth0", false],
  ["another interface of a valid container", "a\r\neth1", true],
  ["an unknown container", "x\r\neth0", true],
  ["a valid container in the old format", "b", false],
  ["an unknown container in the old format", "x", true],
  ["nobody: the file is empty", "", true],
  ["somebody who keeps the address out of use by hand", "reserved for the printer", false],
  ["a text of many lines", "a\r\neth0\r\nmore", false],
])("a reservation of %s", (_, content, garbage) => {
  expect(isGarbage(content, valid)).toBe(garbage);
});
