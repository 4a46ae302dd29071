/** `heddle new-plugin` and what it refuses; what it writes is used in `library/library.test.ts`. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { heddleOfFile } from "../src/testing/executable.ts";
import { run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
const newPlugin = (cwd: string, ...args: readonly string[]) =>
  run([heddle.path, "new-plugin", ...args], { cwd, mustSucceed: false });

describe("heddle new-plugin", () => {
  test.each(["", "Upper", "two--dashes", "-x", "x-", "a/b", "../up", "a b", "1st", "x".repeat(33)])(
    "refuses the name '%s' and writes nothing",
    async (name) => {
      using dir = tempDir("new-plugin");
      const { code, stderr } = await newPlugin(dir.path, "--", name);
      expect({ code, said: stderr.includes("cannot be a plugin's name") }).toEqual({ code: 2, said: true });
      expect(readdirSync(dir.path)).toEqual([]);
    },
  );

  test.each(["bridge", "heddle", "cnitool"])("refuses %s, which is a name of ours", async (name) => {
    using dir = tempDir("new-plugin");
    const { code, stderr } = await newPlugin(dir.path, name);
    expect({ code, said: stderr.includes("one of Heddle's own names") }).toEqual({ code: 2, said: true });
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test.each([
    ["no library", []],
    ["a version, which a registry would be asked for", ["--library", "0.1.0"]],
    ["a file that is not there", ["--library", "file:/nowhere/heddle.tgz"]],
  ])("refuses %s, says how to get the library, and writes nothing", async (_, args) => {
    using dir = tempDir("new-plugin");
    const { code, stderr } = await newPlugin(dir.path, "mine", ...args);
    expect({ code, said: stderr.includes("npm run build:library") }).toEqual({ code: 2, said: true });
    expect(readdirSync(dir.path)).toEqual([]);
  });

  test("leaves a folder of that name as it is", async () => {
    using dir = tempDir("new-plugin");
    mkdirSync(dir.in("mine"));
    writeFileSync(dir.in("mine/plugin.ts"), "");
    writeFileSync(dir.in("heddle.tgz"), "");
    const { code, stderr } = await newPlugin(dir.path, "mine", "--library", "heddle.tgz");
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining("already exists") as string,
    });
    expect(readdirSync(dir.in("mine"))).toEqual(["plugin.ts"]);
  });

  test("depends on the library's file, wherever the project goes, and says what to do next", async () => {
    using dir = tempDir("new-plugin");
    writeFileSync(dir.in("heddle.tgz"), "");
    const { code, stdout } = await newPlugin(dir.path, "mine", "--library", "heddle.tgz");
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("cd mine") as string });
    const manifest = JSON.parse(readFileSync(dir.in("mine/package.json"), "utf8")) as object;
    expect(manifest).toMatchObject({ dependencies: { heddle: `file:${dir.in("heddle.tgz")}` } });
  });
});
