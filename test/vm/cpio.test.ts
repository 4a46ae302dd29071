import { expect, test } from "bun:test";
import { cpio } from "./cpio.ts";

/** One member as the kernel reads it: a header of 110 bytes, then name and data, each filled up to four bytes. */
function members(archive: Uint8Array): readonly { name: string; mode: string; data: string }[] {
  const text = new TextDecoder("latin1").decode(archive);
  const list: { name: string; mode: string; data: string }[] = [];
  for (let at = 0; at < text.length;) {
    expect(text.slice(at, at + 6)).toBe("070701");
    const number = (field: number): number =>
      Number.parseInt(text.slice(at + 6 + field * 8, at + 14 + field * 8), 16);
    const [mode, size, nameSize] = [number(1), number(6), number(11)];
    const name = text.slice(at + 110, at + 110 + nameSize - 1);
    at += Math.ceil((110 + nameSize) / 4) * 4;
    list.push({ name, mode: mode.toString(8), data: text.slice(at, at + size) });
    at += Math.ceil(size / 4) * 4;
  }
  return list;
}

test("an archive has each entry with its type, its name and its bytes, and an end", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const archive = cpio([
    { kind: "directory", path: "bin" },
    { kind: "file", path: "bin/tool", bytes: bytes("12345"), executable: true },
    { kind: "file", path: "notes", bytes: bytes("") },
    { kind: "link", path: "bin/other", target: "tool" },
  ]);
  expect(members(archive)).toEqual([
    { name: "bin", mode: "40755", data: "" },
    { name: "bin/tool", mode: "100755", data: "12345" },
    { name: "notes", mode: "100644", data: "" },
    { name: "bin/other", mode: "120777", data: "tool" },
    { name: "TRAILER!!!", mode: "0", data: "" },
  ]);
});
