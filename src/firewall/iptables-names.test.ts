import { expect, test } from "bun:test";
import { furtherChain, masqueradeChain, portMapChain, portMapComment } from "./iptables-names.ts";

test("chains have the names that the reference gives them", () => {
  // The reference's own test vector, with its container ID in full.
  const id =
    "icee6giejonei6sohng6ahngee7laquohquee9shiGo7fohferakah3Feiyoolu2pei7ciPhoh7shaoX6vai3vuf0ahfaeng8yohb9ceu0daez5hashee8ooYai5wa3y";
  expect(portMapChain("test", id)).toBe("CNI-DN-67e92b96e692a494b6b85");
  expect(masqueradeChain("mynet", "cid")).toBe("CNI-4704479eff9e2e5ed87fef06");
});

test("a further chain has a name of its own for each owner, of the same kind and length", () => {
  const names = [masqueradeChain("n", "c"), portMapChain("n", "c")].flatMap((first) =>
    ["a", "b"].map((mark) => furtherChain(first, mark)),
  );
  expect(new Set(names).size).toBe(4);
  expect(names.map((n) => n.length)).toEqual([28, 28, 28, 28]);
  expect(names.map((n) => n.startsWith("CNI-DN-"))).toEqual([false, false, true, true]);
});

test("a comment is cut to what the kernel takes", () => {
  expect(portMapComment("n", "c".repeat(300)).length).toBe(255);
});
