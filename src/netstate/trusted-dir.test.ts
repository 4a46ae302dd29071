import { expect, test } from "bun:test";
import { chmodSync, lchownSync, mkdirSync, symlinkSync } from "node:fs";
import { NetError } from "../errors.ts";
import { testWith } from "../testing/needs.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { requireTrusted } from "./trusted-dir.ts";

const NOBODY = 65534;
const codeOf = (dir: string): string | undefined => {
  try {
    requireTrusted(dir, "HEDDLE_RUN_DIR");
    return undefined;
  } catch (e) {
    return e instanceof NetError ? e.code : String(e);
  }
};

test("a directory of one's own is trusted, one that is not there yet, and one below a sticky directory", () => {
  using dir = tempDir("trust");
  expect(codeOf(dir.path)).toBeUndefined();
  expect(codeOf(dir.in("later"))).toBeUndefined();
  mkdirSync(dir.in("sticky"));
  chmodSync(dir.in("sticky"), 0o1777);
  expect(codeOf(dir.in("sticky/run"))).toBeUndefined();
});

test("a directory that others can write to is refused, and one below it", () => {
  using dir = tempDir("trust");
  mkdirSync(dir.in("open"));
  chmodSync(dir.in("open"), 0o777);
  expect(codeOf(dir.in("open"))).toBe("env/invalid");
  expect(codeOf(dir.in("open/run"))).toBe("env/invalid");
  mkdirSync(dir.in("sticky"));
  chmodSync(dir.in("sticky"), 0o1777);
  expect(codeOf(dir.in("sticky"))).toBe("env/invalid");
});

testWith({ root: true })("a directory or a link of somebody else is refused", () => {
  using dir = tempDir("trust");
  mkdirSync(dir.in("theirs"), { mode: 0o700 });
  lchownSync(dir.in("theirs"), NOBODY, NOBODY);
  expect(codeOf(dir.in("theirs"))).toBe("env/invalid");
  mkdirSync(dir.in("own"), { mode: 0o700 });
  symlinkSync(dir.in("own"), dir.in("link"));
  expect(codeOf(dir.in("link"))).toBeUndefined();
  symlinkSync(dir.in("own"), dir.in("their-link"));
  lchownSync(dir.in("their-link"), NOBODY, NOBODY);
  expect(codeOf(dir.in("their-link"))).toBe("env/invalid");
});
