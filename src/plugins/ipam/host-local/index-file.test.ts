import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeDataDir } from "../../../testing/ipam.ts";
import { realFiles } from "./files.ts";
import { type Change, entriesOf, extendIndex, filesOf, readIndex, writeIndex } from "./index-file.ts";

function start(entries: Record<string, string>) {
  const data = makeDataDir();
  const dir = join(data.path, "net");
  const path = join(data.path, ".heddle", "net.index");
  mkdirSync(dir);
  writeIndex(path, dir, new Map(Object.entries(entries)), realFiles);
  return { data, dir, path, [Symbol.dispose]: () => data[Symbol.dispose]() };
}
const plus = (file: string, owner: string): Change => ({ sign: "+", file, owner });
const minus = (file: string, owner: string): Change => ({ sign: "-", file, owner });

describe("an index", () => {
  test("gives back what was written and added", () => {
    using t = start({ "10.0.0.1": "a\r\neth0", "10.0.0.2": "a", "10.0.0.3": "b\r\neth0" });
    const index = readIndex(t.path, t.dir);
    if (!index) throw new Error("not valid");
    extendIndex(
      t.path,
      t.dir,
      index,
      [plus("10.0.0.4", "a\r\neth0"), minus("10.0.0.1", "a\r\neth0")],
      realFiles,
    );
    const next = readIndex(t.path, t.dir);
    if (!next) throw new Error("not valid");
    expect(filesOf(next, "a\r\neth0")).toEqual(["10.0.0.4"]);
    expect(filesOf(next, "a")).toEqual(["10.0.0.2"]);
    expect(filesOf(next, "eth0")).toEqual([]);
    expect(entriesOf(next).size).toBe(3);
    expect([next.live, next.lines]).toEqual([3, 5]);
  });

  test("tells an owner from one whose name ends alike", () => {
    using t = start({ "10.0.0.1": "my-a", "10.0.0.2": "a", "10.0.0.3": "ba" });
    const index = readIndex(t.path, t.dir);
    expect(index && filesOf(index, "a")).toEqual(["10.0.0.2"]);
  });

  test("takes any text as owner and as file name", () => {
    const odd = "+a 10.0.0.9\n= 1 2 3\r\n\u00e9 \ud800%";
    using t = start({ "odd name\n": odd, plain: "" });
    const index = readIndex(t.path, t.dir);
    if (!index) throw new Error("not valid");
    expect(filesOf(index, odd)).toEqual(["odd name\n"]);
    expect(filesOf(index, "a")).toEqual([]);
    expect(filesOf(index, "")).toEqual(["plain"]);
  });

  test("marks the directory with a time that the kernel's clock has passed", () => {
    using t = start({});
    const age = Date.now() - statSync(t.dir).mtimeMs;
    expect(age).toBeGreaterThan(1500);
    expect(age).toBeLessThan(60_000);
  });

  test.each([
    ["a file made", (dir: string) => writeFileSync(join(dir, "x"), "")],
    ["a file made and removed", (dir: string) => (writeFileSync(join(dir, "x"), ""), rmSync(join(dir, "x")))],
    ["a time set by somebody else", (dir: string) => utimesSync(dir, 1, 1)],
    [
      "the same time set again by a restored copy",
      (dir: string) => {
        const { mtimeNs } = statSync(dir, { bigint: true });
        utimesSync(dir, Number(mtimeNs) / 1e9, Number(mtimeNs) / 1e9);
      },
    ],
    ["another directory of that name", (dir: string) => (rmSync(dir, { recursive: true }), mkdirSync(dir))],
  ])("is not trusted after %s", (_, change) => {
    using t = start({ "10.0.0.1": "a" });
    expect(readIndex(t.path, t.dir)).toBeDefined();
    change(t.dir);
    expect(readIndex(t.path, t.dir)).toBeUndefined();
  });

  test("is not trusted when any part of its end is missing, or a page of it is zero", () => {
    using t = start({ "10.0.0.1": "a", "10.0.0.2": "b" });
    const text = readFileSync(t.path, "latin1");
    for (let n = 0; n < text.length; n++) {
      writeFileSync(t.path, text.slice(0, n));
      expect(readIndex(t.path, t.dir)).toBeUndefined();
    }
    writeFileSync(t.path, text.replace("10.0.0.1", "\0".repeat(8)));
    expect(readIndex(t.path, t.dir)).toBeUndefined();
    writeFileSync(t.path, text);
    expect(readIndex(t.path, t.dir)).toBeDefined();
  });

  test("is not trusted if it is missing or a directory", () => {
    using t = start({});
    rmSync(t.path);
    expect(readIndex(t.path, t.dir)).toBeUndefined();
    mkdirSync(t.path);
    expect(readIndex(t.path, t.dir)).toBeUndefined();
  });

  test("stays short when addresses come and go", () => {
    using t = start({ "10.0.0.1": "keeps" });
    let longest = 0;
    for (let i = 0; i < 400; i++)
      for (const change of [plus("10.0.0.2", `c${i}`), minus("10.0.0.2", `c${i}`)]) {
        const index = readIndex(t.path, t.dir);
        if (!index) throw new Error("not valid");
        extendIndex(t.path, t.dir, index, [change], realFiles);
        longest = Math.max(longest, index.lines);
      }
    expect(longest).toBeLessThan(270);
    const index = readIndex(t.path, t.dir);
    expect(index && [...entriesOf(index)]).toEqual([["10.0.0.1", "keeps"]]);
  });
});
