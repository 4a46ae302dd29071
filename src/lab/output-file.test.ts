import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { errnoOf, writeText } from "../sys/files.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openOutput } from "./output-file.ts";

const put = (path: string): string | undefined => {
  try {
    using file = openOutput(path, 0o600);
    writeText(file.raw, "new", path);
    return undefined;
  } catch (e) {
    return errnoOf(e);
  }
};

test("a file is written over, and a link of one's own is followed, as /dev/stdout is one", () => {
  using dir = tempDir("output");
  writeFileSync(dir.in("file"), "something longer");
  symlinkSync("file", dir.in("link"));
  expect(put(dir.in("file"))).toBeUndefined();
  expect(readFileSync(dir.in("file"), "utf8")).toBe("new");
  writeFileSync(dir.in("file"), "old");
  expect(put(dir.in("link"))).toBeUndefined();
  expect(readFileSync(dir.in("file"), "utf8")).toBe("new");
  symlinkSync("/dev/null", dir.in("null"));
  expect(put(dir.in("null"))).toBeUndefined();
});

test("a link in a directory that others can write to is refused, and where it leads stays as it was", () => {
  using dir = tempDir("output");
  writeFileSync(dir.in("victim"), "mine");
  mkdirSync(dir.in("open"));
  chmodSync(dir.in("open"), 0o1777);
  symlinkSync(dir.in("victim"), dir.in("open/link"));
  expect(put(dir.in("open/link"))).toBe("ELOOP");
  expect(readFileSync(dir.in("victim"), "utf8")).toBe("mine");
  expect(put(dir.in("open/file"))).toBeUndefined();
});
