import { describe, expect, test } from "bun:test";
import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { versions } from "../src/cni/version.ts";
import { pluginTypes } from "../src/plugins/registry.ts";
import { heddleOfFile, runPlugin } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { plainEnv, run, type RunOptions } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();

const cli = (args: readonly string[], options: RunOptions = {}) =>
  run([heddle.at("heddle"), ...args], { mustSucceed: false, ...options });
const cnitool = (args: readonly string[], env: Record<string, string> = {}) =>
  run([heddle.at("cnitool"), ...args], { mustSucceed: false, env: { ...plainEnv, ...env } });

describe("the name decides what the executable is", () => {
  test.each(pluginTypes.map((type) => [type]))(
    "called as %s, it answers VERSION as that plugin",
    async (type) => {
      const { code, json, stdout } = await runPlugin(
        heddle.at(type),
        { command: "VERSION" },
        { cniVersion: "1.1.0" },
      );
      expect(code).toBe(0);
      expect(json).toMatchObject({ cniVersion: "1.1.0" });
      const { supportedVersions } = json as { supportedVersions: readonly string[] };
      expect(versions as readonly string[]).toEqual(expect.arrayContaining([...supportedVersions]));
      expect(stdout).toEndWith("\n");
    },
  );

  test("called as cnitool, it has cnitool's commands and no others", async () => {
    const { stdout, code } = await cnitool(["--help"]);
    expect(code).toBe(0);
    for (const verb of ["add", "check", "del", "gc", "status"]) expect(stdout).toContain(`  ${verb} `);
    expect(stdout).not.toContain("install");
  });

  test("called by a name that is no plugin's, it is the command line", async () => {
    using dir = tempDir();
    symlinkSync(heddle.path, dir.in("other"));
    const { stdout } = await run([dir.in("other"), "version"]);
    expect(stdout).toStartWith("heddle ");
  });
});

describe("heddle", () => {
  test("version names the package's version and its commit", async () => {
    const { version } = JSON.parse(readFileSync(`${import.meta.dir}/../package.json`, "utf8")) as {
      version: string;
    };
    const { stdout } = await cli(["version", "--json"]);
    const facts = JSON.parse(stdout) as object;
    expect(facts).toMatchObject({ version, cniVersions: [...versions] });
    expect(Object.keys(facts)).toEqual(["version", "commit", "bun", "platform", "arch", "cniVersions"]);
  });

  test("plugins lists every plugin with kind and versions", async () => {
    const { stdout } = await cli(["plugins", "--json"]);
    const list = JSON.parse(stdout) as readonly { type: string; kind: string; about: string }[];
    expect(list.map(({ type }) => type)).toEqual([...pluginTypes]);
    expect(Object.keys(list[0] ?? {})).toEqual(["type", "kind", "versions", "about"]);
    for (const { kind, about } of list) {
      expect(["main", "ipam", "meta"]).toContain(kind);
      expect(about).not.toBe("");
    }
    const { stdout: table } = await cli(["plugins"]);
    expect(table.trim().split("\n")).toHaveLength(pluginTypes.length + 1);
  });

  test.each([
    [[]],
    [["--help"]],
    [["help"]],
    [["cni", "--help"]],
    [["cni", "add", "--help"]],
    [["install", "-h"]],
  ])("%j prints help on standard output and succeeds", async (args) => {
    const { code, stdout, stderr } = await cli(args);
    expect(code).toBe(0);
    expect(stdout).toStartWith("Usage: heddle");
    expect(stderr).toBe("");
  });

  test("a mistyped command is answered with the nearest one, and code 2", async () => {
    const { code, stdout, stderr } = await cli(["instal"]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("install");
  });

  test("help of what is no command is refused, and not that of the command above", async () => {
    for (const words of ["demo", "lab nope", "cni nope"].map((line) => line.split(" "))) {
      const { code, stdout, stderr } = await cli([...words, "--help"]);
      expect({ code, stdout }).toEqual({ code: words[0] === "cni" ? 1 : 2, stdout: "" });
      expect(stderr).toContain(`unknown command '${words.at(-1) ?? ""}'`);
    }
  });

  test("an unknown option is a usage error with code 2", async () => {
    const { code, stderr } = await cli(["plugins", "--wrong"]);
    expect(code).toBe(2);
    expect(stderr).toContain("--wrong");
    expect(stderr).toContain("hint: see heddle plugins --help");
  });

  test("--version is the first line of version", async () => {
    const [short, long] = [await cli(["--version"]), await cli(["version"])];
    expect(short.code).toBe(0);
    expect(short.stdout).toMatch(/^heddle \S+ \(commit /);
    expect(long.stdout).toStartWith(short.stdout);
  });

  test("help of a command below another is that command's help", async () => {
    expect((await cli(["help", "cni", "add"])).stdout).toBe((await cli(["cni", "add", "--help"])).stdout);
  });

  test("a directory that may not be read is no fault of the program", async () => {
    using dir = tempDir();
    writeFileSync(dir.in("attachments"), "");
    const { code, stderr } = await cli(["ps"], { env: { ...plainEnv, HEDDLE_RUN_DIR: dir.path } });
    expect(code).toBe(1);
    expect(stderr).toContain("ENOTDIR");
    expect(stderr).toContain("more: docs/errors.md#syscall");
  });

  test("a failure is one line, a hint and a place to read, without a stack", async () => {
    using dir = tempDir();
    const env = { ...plainEnv, NETCONFPATH: dir.path };
    const { code, stdout, stderr } = await cli(["cni", "add", "nonet", "/run/netns/none"], { env });
    expect(code).toBe(1);
    expect(stdout).toBe("");
    const lines = stderr.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toStartWith("heddle: ");
    expect(lines[1]).toStartWith("  hint: ");
    expect(lines[2]).toBe("  more: docs/errors.md#confignot-found");
  });

  test("--debug adds code, detail and stack", async () => {
    using dir = tempDir();
    const env = { ...plainEnv, NETCONFPATH: dir.path };
    const { stderr } = await cli(["cni", "add", "nonet", "/run/netns/none", "--debug"], { env });
    expect(stderr).toContain("config/not-found {");
    expect(stderr).toMatch(/ at .*src\/cni\/load\.ts:\d+/);
  });

  test("--json prints the error object of the specification instead", async () => {
    using dir = tempDir();
    const env = { ...plainEnv, NETCONFPATH: dir.path };
    const { code, stdout, stderr } = await cli(["cni", "del", "nonet", "/run/netns/none", "--json"], { env });
    expect(code).toBe(1);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toMatchObject({ cniVersion: "1.1.0", code: 7 });
  });
});

describe("cnitool", () => {
  test("ends with 1 for every failure, that of the command line included", async () => {
    expect((await cnitool(["add", "net"])).code).toBe(1);
    expect((await cnitool(["wrong", "net", "/x"])).code).toBe(1);
    expect((await cnitool(["add", "net", "/x"], { NETCONFPATH: "/nonexistent" })).code).toBe(1);
    expect((await cli(["cni", "add", "net"])).code).toBe(1);
  });

  test("ignores arguments after the namespace", async () => {
    const { stderr } = await cnitool(["status", "net", "/x", "more"], { NETCONFPATH: "/nonexistent" });
    expect(stderr).toContain("/nonexistent");
  });

  test("passes id, namespace, interface, arguments and capabilities on to the plugin, and prints its result", async () => {
    using dir = tempDir();
    const seen = dir.in("seen.json");
    writeRecorder(dir.in("recorder"), seen);
    const conf = {
      cniVersion: "0.4.0",
      name: "net",
      plugins: [{ type: "recorder", capabilities: { mac: true } }],
    };
    writeFileSync(dir.in("10-net.conflist"), JSON.stringify(conf));
    const env = {
      CNI_PATH: dir.path,
      NETCONFPATH: dir.path,
      CNI_ARGS: "K=V",
      CAP_ARGS: '{"mac":"02:00:00:00:00:01","unasked":1}',
    };
    const args = ["net", "/run/netns/a", "-i", "net1", "--cache-dir", dir.in("cache")];
    const { code, stdout, stderr } = await cnitool(["add", ...args], env);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ cniVersion: "0.4.0", ips: [{ address: "10.0.0.2/24" }] });
    expect(stdout).toContain('\n    "cniVersion"');
    const call = JSON.parse(readFileSync(seen, "utf8")) as { env: Record<string, string>; conf: object };
    expect(call.env).toMatchObject({
      CNI_COMMAND: "ADD",
      // printf %s /run/netns/a | sha512sum | head -c 20
      CNI_CONTAINERID: "cnitool-a145bc1ace582bff43bd",
      CNI_NETNS: "/run/netns/a",
      CNI_IFNAME: "net1",
      CNI_ARGS: "K=V",
    });
    expect(call.conf).toMatchObject({ name: "net", runtimeConfig: { mac: "02:00:00:00:00:01" } });
    expect(call.conf).not.toHaveProperty("runtimeConfig.unasked");
    const del = await cnitool(["del", ...args], env);
    expect(del).toMatchObject({ code: 0, stdout: "", stderr: "" });
  });
});

/** A plugin that writes down how it was called and answers with one address. */
function writeRecorder(path: string, seen: string): void {
  const program = `#!${process.execPath}
const { readFileSync, writeFileSync } = require("node:fs");
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("CNI_")));
const conf = JSON.parse(readFileSync(0, "utf8"));
writeFileSync(${JSON.stringify(seen)}, JSON.stringify({ env, conf }));
if (env.CNI_COMMAND === "ADD")
  console.log(JSON.stringify({ cniVersion: "0.4.0", ips: [{ version: "4", address: "10.0.0.2/24" }] }));
`;
  writeFileSync(path, program, { mode: 0o755 });
}

describe("heddle completion", () => {
  testWith({ programs: ["bash"] })("bash completes commands, verbs and options in their places", async () => {
    using dir = tempDir();
    const { stdout: script } = await cli(["completion", "bash"]);
    const complete = async (...words: readonly string[]): Promise<readonly string[]> => {
      const quoted = words.map((word) => `'${word}'`).join(" ");
      const asked = `heddle() { ${heddle.at("heddle")} "$@"; }\n${script}\nCOMP_WORDS=(heddle ${quoted})\nCOMP_CWORD=${words.length}\n_heddle\nprintf '%s\\n' "\${COMPREPLY[@]}"\n`;
      writeFileSync(dir.in("ask"), asked);
      return (await run(["bash", dir.in("ask")])).stdout.trim().split("\n");
    };
    expect(await complete("ins")).toEqual(["install"]);
    expect(await complete("cni", "")).toEqual(
      expect.arrayContaining(["add", "check", "del", "gc", "status"]),
    );
    expect(await complete("cni", "add", "--if")).toEqual(["--ifname"]);
    expect(await complete("install", "--fo")).toEqual(["--force"]);
    expect(await complete("completion", "fi")).toEqual(["fish"]);
  });

  test("another shell is refused with those that there are", async () => {
    const { code, stderr } = await cli(["completion", "tcsh"]);
    expect(code).toBe(2);
    expect(stderr).toContain("bash, zsh, fish");
  });
});
