import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NetError } from "../errors.ts";
import { execPlugin, OUTPUT_LIMIT } from "./exec.ts";
import { emptyHost, fileId, type Host } from "./host.ts";
import { findPlugin, invoke, pluginError, pluginVersions, resultOfPlugin } from "./invoke.ts";
import type { Plugin } from "./plugin.ts";
import { emptyResult } from "./result.ts";
import { serve } from "./serve.ts";

let dir: string;
let first: string;
let bin: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-invoke-"));
  first = join(dir, "first");
  bin = join(dir, "bin");
  mkdirSync(first);
  mkdirSync(bin);
});
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

/** A plugin as a file: a program of a few lines. `env` and `stdin` are at hand. */
function program(name: string, body: string): string {
  const file = join(bin, name);
  const prelude = `const env = process.env; const stdin = require("node:fs").readFileSync(0, "utf8");`;
  writeFileSync(file, `#!${process.execPath}\n${prelude}\n${body}\n`);
  chmodSync(file, 0o755);
  return file;
}
const say = (value: unknown) => `process.stdout.write(${JSON.stringify(JSON.stringify(value))});`;
const run = (
  type: string,
  more: Record<string, string | undefined> = {},
  stdin = "{}",
  log?: (m: string) => void,
) =>
  invoke(
    { type, command: "ADD", env: { ...process.env, CNI_PATH: bin, ...more }, stdin, ...(log ? { log } : {}) },
    emptyHost,
  );
const rejection = (p: Promise<unknown>): Promise<unknown> =>
  p.then(
    () => undefined,
    (e: unknown) => e,
  );

describe("finding a plugin", () => {
  test("takes the first regular file on the path", () => {
    writeFileSync(join(bin, "both"), "");
    mkdirSync(join(first, "both"));
    expect(findPlugin("both", ["/nowhere", first, bin]).file).toBe(join(bin, "both"));
  });

  test("follows links and does not look at the execute bit", () => {
    writeFileSync(join(dir, "target"), "", { mode: 0o600 });
    symlinkSync("../target", join(bin, "linked"));
    expect(findPlugin("linked", [bin])).toEqual({
      file: join(bin, "linked"),
      id: fileId(join(dir, "target")) as never,
    });
  });

  test.each([
    ["a name that is not there", "absent", "plugin/not-found"],
    ["a directory", "..", "plugin/not-found"],
    ["no name", "", "config/invalid"],
    ["a name with a separator", "../target", "config/invalid"],
    ["a name with the other separator", "a\\b", "config/invalid"],
    ["a name with a zero byte", "a\0b", "config/invalid"],
  ])("refuses %s", (_, type, code) => {
    expect(() => findPlugin(type, [bin])).toThrow(expect.objectContaining({ code }));
  });

  test("says where it looked", () => {
    expect(() => findPlugin("absent", ["/a", "/b"])).toThrow('no plugin "absent" in /a:/b');
    expect(() => findPlugin("absent", [])).toThrow('no plugin "absent" in an empty CNI_PATH');
  });
});

describe("a plugin that is executed", () => {
  test("gets the configuration on standard input and the call in its environment", async () => {
    program(
      "echo",
      `process.stdout.write(JSON.stringify({ stdin, command: env.CNI_COMMAND, ifname: env.CNI_IFNAME }));`,
    );
    const out = await run("echo", { CNI_IFNAME: "eth0", CNI_COMMAND: "DEL" }, '{"some":"config"}');
    expect(JSON.parse(out)).toEqual({ stdin: '{"some":"config"}', command: "ADD", ifname: "eth0" });
  });

  test("gets no variable that would turn it into something else", async () => {
    program(
      "clean",
      `process.stdout.write(JSON.stringify([env.BUN_OPTIONS ?? "none", env.BUN_BE_BUN ?? "none"]));`,
    );
    const out = await run("clean", { BUN_OPTIONS: "--version", BUN_BE_BUN: "1" });
    expect(JSON.parse(out)).toEqual(["none", "none"]);
  });

  test("may ignore its standard input", async () => {
    writeFileSync(join(bin, "deaf"), `#!${process.execPath}\n${say({ ok: true })}\n`, { mode: 0o755 });
    expect(await run("deaf", {}, JSON.stringify({ long: "x".repeat(300_000) }))).toBe('{"ok":true}');
  });

  test("has its log passed on", async () => {
    program("chatty", `process.stderr.write("a warning"); ${say({})}`);
    const logged: string[] = [];
    await run("chatty", {}, "{}", (m) => logged.push(m));
    expect(logged).toEqual(["a warning"]);
  });

  test("that fails with an error object keeps its code, message and details", async () => {
    program(
      "typed",
      `${say({ cniVersion: "1.0.0", code: 107, msg: "banana", details: "more" })} process.exitCode = 1;`,
    );
    expect(await rejection(run("typed"))).toMatchObject({
      code: "plugin/failed",
      message: "plugin typed failed (add): banana",
      detail: { type: "typed", command: "add", code: 107, msg: "banana", details: "more" },
    });
  });

  test("that fails with nothing but a log has the log in its message", async () => {
    program("logs", `process.stderr.write("it broke\\n"); process.exitCode = 3;`);
    expect(await rejection(run("logs"))).toMatchObject({
      detail: { code: 999, msg: 'exit code 3: "it broke"' },
    });
  });

  test("that is ended by a signal says which", async () => {
    program("killed", `process.kill(process.pid, "SIGKILL");`);
    expect(await rejection(run("killed"))).toMatchObject({
      detail: { msg: "no error message, ended by SIGKILL" },
    });
  });

  test("that prints without end is stopped", async () => {
    program("endless", `const b = Buffer.alloc(65536, "x"); for (;;) require("node:fs").writeSync(1, b);`);
    const e = await rejection(run("endless"));
    expect(e).toMatchObject({ code: "program/failed" });
    expect((e as Error).message).toContain(`more than ${OUTPUT_LIMIT} bytes`);
  });

  test("is ended when the caller gives up", async () => {
    const file = program("sleeper", `setTimeout(() => {}, 60_000);`);
    const stop = new AbortController();
    const running = execPlugin({ file, env: process.env, stdin: "{}", signal: stop.signal });
    stop.abort(new Error("took too long"));
    expect(await rejection(running)).toMatchObject({
      code: "program/failed",
      cause: { message: "took too long" },
    });
    const again = execPlugin({ file, env: process.env, stdin: "{}", signal: stop.signal });
    expect(await rejection(again)).toMatchObject({ cause: { message: "took too long" } });
  });

  test("that cannot be executed says why", async () => {
    writeFileSync(join(bin, "plain"), "not a program", { mode: 0o644 });
    expect(await rejection(run("plain"))).toMatchObject({ code: "program/failed" });
  });

  test("is tried again while its file is being written", async () => {
    // A script is never busy, its interpreter could be; so the busy file is a copy of a program.
    const file = join(bin, "busy");
    await Bun.write(file, Bun.file("/bin/true"));
    chmodSync(file, 0o755);
    const writer = openSync(file, "r+");
    const running = execPlugin({ file, env: process.env, stdin: "" }); // tries once before it returns
    closeSync(writer);
    expect(await running).toMatchObject({ status: 0 });
  });
});

describe("the message of a plugin that failed", () => {
  const failed = (status: number | string, stdout: string, stderr: string) =>
    pluginError({ type: "p", command: "DEL" }, status, stdout, stderr).detail;

  test.each([
    [2, "", "", 999, "no error message, exit code 2"],
    [1, " \n", "", 999, "no error message, exit code 1"],
    [1, `{"code":11,"msg":"later"}`, "log", 11, "later"],
    [1, `{"msg":"no code"}`, "", 999, "no code"],
    [1, `{"code":0,"msg":"zero"}`, "", 999, "zero"],
    [1, `{"code":7}`, "", 7, "no error message, exit code 1"],
  ] as const)("status %p, output %j and log %j", (status, stdout, stderr, code, msg) => {
    expect(failed(status, stdout, stderr)).toMatchObject({ code, msg, command: "del" });
  });

  test.each(["a panic", `{"code":"7"}`, "[]", `"text"`])(
    "shows output %j that is no error object",
    (stdout) => {
      const { code, msg } = failed(1, stdout, "");
      expect(code).toBe(999);
      expect(msg).toContain("cannot be read");
      expect(msg).toContain(JSON.stringify(stdout));
    },
  );

  test("does not show output without end", () => {
    expect(failed(1, "x".repeat(100_000), "").msg.length).toBeLessThan(1000);
    expect(failed(1, "", "x".repeat(100_000)).msg.length).toBeLessThan(1000);
  });
});

describe("the result of a plugin", () => {
  test.each([
    ["", "cannot be read"],
    ["{", "cannot be read"],
    [`{"cniVersion":"12.0.0"}`, "cannot be read"],
  ])("%j is an error of that plugin", (stdout, why) => {
    expect(() => resultOfPlugin("p", stdout, "1.0.0")).toThrow(why);
  });
  test("null is an empty result", () => {
    expect(resultOfPlugin("p", "null", "1.0.0")).toEqual(emptyResult);
  });
});

describe("the versions of a plugin", () => {
  const versionsOf = (name: string, body: string) => {
    program(name, body);
    return pluginVersions({ type: name, env: { ...process.env, CNI_PATH: bin } }, emptyHost);
  };

  test("are those that it lists, newer ones than ours included", async () => {
    expect(
      await versionsOf("v-now", say({ cniVersion: "1.1.0", supportedVersions: ["0.4.0", "7.0.0"] })),
    ).toEqual(["0.4.0", "7.0.0"]);
  });

  test("are asked for with a version on standard input and values that old plugins look for", async () => {
    const asked = `const ok = env.CNI_COMMAND === "VERSION" && env.CNI_IFNAME && env.CNI_NETNS && env.CNI_CONTAINERID;
      process.stdout.write(JSON.stringify({ cniVersion: "1.0.0", supportedVersions: [String(ok !== "") + stdin] }));`;
    expect(await versionsOf("v-asked", asked)).toEqual([`true{"cniVersion":"1.1.0"}`]);
  });

  test("are 0.1.0 for a plugin from before the command", async () => {
    const old = `${say({ code: 100, msg: "unknown CNI_COMMAND: VERSION" })} process.exitCode = 1;`;
    expect(await versionsOf("v-old", old)).toEqual(["0.1.0"]);
  });

  test("are not known of a plugin that fails otherwise", async () => {
    const e = await rejection(
      versionsOf("v-broken", `${say({ code: 5, msg: "no disk" })} process.exitCode = 1;`),
    );
    expect(e).toMatchObject({
      code: "plugin/failed",
      detail: { command: "version", code: 5, msg: "no disk" },
    });
  });

  test("are 0.1.0 and 0.2.0 for a plugin that answers for 0.2.0 without a list", async () => {
    expect(await versionsOf("v-020", say({ cniVersion: "0.2.0" }))).toEqual(["0.1.0", "0.2.0"]);
  });

  test.each([
    ["no version", say({ supportedVersions: ["1.0.0"] })],
    ["no list", say({ cniVersion: "1.0.0" })],
    ["no JSON", `process.stdout.write("1.0.0");`],
  ])("are an error for an answer with %s", async (name, body) => {
    const e = await rejection(versionsOf(`v-${name.replaceAll(" ", "-")}`, body));
    expect(e).toMatchObject({ code: "decode/malformed" });
  });
});

describe("a delegate", () => {
  const ipam: Plugin = {
    type: "ipam",
    about: "ipam",
    options: [],
    parse: (conf) => conf.raw["ipam"],
    add: async (call) => ({
      ...emptyResult,
      dns: { domain: `${call.ifname} ${JSON.stringify(call.config)}` },
    }),
    del: () => Promise.reject(new NetError("ipam/exhausted", { pool: "p" })),
    check: async (call) => call.log("checked inside"),
  };
  const main: Plugin = {
    type: "main",
    about: "main",
    options: [],
    parse: () => undefined,
    add: (call) => call.delegate.add("ipam"),
    del: (call) => call.delegate.del("ipam"),
    check: (call) => call.delegate.check("ipam"),
    gc: (call) => call.delegate.gc("ipam"),
    status: (call) => call.delegate.status("ipam"),
  };
  const serveMain = (command: string, host: Host, path: string | undefined) =>
    serve(main, {
      env: {
        ...process.env,
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c",
        CNI_IFNAME: "eth0",
        CNI_NETNS: "/x",
        CNI_PATH: path,
      },
      stdin: JSON.stringify({ cniVersion: "1.1.0", name: "n", type: "main", ipam: { type: "ipam" } }),
      host,
    });
  /** A host whose own program is the file `ipam` in a directory of the test. */
  const inProcess = (): { host: Host; path: string; loads: string[] } => {
    const path = mkdtempSync(join(dir, "own-"));
    const self = join(path, "program");
    writeFileSync(self, "");
    symlinkSync("program", join(path, "ipam"));
    const loads: string[] = [];
    const load = async (type: string): Promise<Plugin | undefined> => {
      loads.push(type);
      return type === "ipam" ? ipam : undefined;
    };
    return { host: { load, inProcess: true, self: fileId(self) }, path, loads };
  };

  test("runs in this process when its file is this program, with the same call and configuration", async () => {
    const { host, path } = inProcess();
    const out = await serveMain("ADD", host, path);
    expect(JSON.parse(out.stdout)).toEqual({ cniVersion: "1.1.0", dns: { domain: 'eth0 {"type":"ipam"}' } });
  });

  test("that fails in this process passes its code and message on", async () => {
    const { host, path } = inProcess();
    const out = await serveMain("DEL", host, path);
    expect(JSON.parse(out.stdout)).toMatchObject({
      code: 107,
      msg: "plugin ipam failed (del): no IP addresses available in range set: p",
    });
  });

  test("has what it logs passed on", async () => {
    const { host, path } = inProcess();
    expect((await serveMain("CHECK", host, path)).stderr).toBe("checked inside\n");
  });

  test.each(["GC", "STATUS"])("without %s succeeds", async (verb) => {
    const { host, path } = inProcess();
    expect((await serveMain(verb, host, path)).code).toBe(0);
  });

  test("is executed when the first file found is another program, though this one contains the plugin", async () => {
    const { host, path, loads } = inProcess();
    program("ipam", say({ cniVersion: "1.1.0", dns: { domain: "from outside" } }));
    const out = await serveMain("ADD", host, `${bin}:${path}`);
    expect(JSON.parse(out.stdout)).toMatchObject({ dns: { domain: "from outside" } });
    expect(loads).toEqual([]);
  });

  test("is executed when the host says so", async () => {
    const { host, path, loads } = inProcess();
    const out = await serveMain("ADD", { ...host, inProcess: false }, path);
    expect(out.code).toBe(1); // the file is empty: it can be found and not run
    expect(loads).toEqual([]);
  });

  test("needs CNI_PATH, and the error names it", async () => {
    for (const path of [undefined, ""]) {
      const out = await serveMain("ADD", inProcess().host, path);
      expect(JSON.parse(out.stdout)).toMatchObject({ code: 4 });
      expect(out.stdout).toContain("CNI_PATH");
    }
  });

  test("needs no file where this program's own stands in, and gives way to one that is there", async () => {
    const { host, path, loads } = inProcess();
    const standing: Host = { ...host, standsIn: (type) => type === "ipam" };
    for (const nowhere of [undefined, "", "/nowhere"])
      expect((await serveMain("ADD", standing, nowhere)).code).toBe(0);
    expect(loads).toEqual(["ipam", "ipam", "ipam"]);
    program("ipam", say({ cniVersion: "1.1.0", dns: { domain: "from outside" } }));
    const out = await serveMain("ADD", standing, `${bin}:${path}`);
    expect(JSON.parse(out.stdout)).toMatchObject({ dns: { domain: "from outside" } });
    const others = await serveMain("ADD", { ...host, standsIn: () => false }, "/nowhere");
    expect(JSON.parse(others.stdout)).toMatchObject({ code: 106 });
  });

  test("that is nowhere to be found says where it was looked for", async () => {
    const { host } = inProcess();
    const out = await serveMain("ADD", host, "/nowhere");
    expect(JSON.parse(out.stdout)).toMatchObject({ code: 106, msg: 'no plugin "ipam" in /nowhere' });
  });
});
