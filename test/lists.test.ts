/** `heddle cni validate` and `heddle cni pack`, by the built executable. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { projectDir } from "../scripts/paths.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { type Outcome, plainEnv, run } from "../src/testing/run.ts";
import { type TempDir, tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
let dir: TempDir;
beforeAll(() => {
  dir = tempDir("lists");
  writeFileSync(dir.in("good.conflist"), readFileSync(`${projectDir}/examples/mynet.conflist`));
  writeFileSync(dir.in("warned.conf"), '{ "name": "net", "type": "loopback" }\n');
  writeFileSync(
    dir.in("bad.conflist"),
    '{\n  "cniVersion": "1.1.0",\n  "name": "net",\n  "plugins": [\n' +
      '    { "type": "bridge", "isGatway": true, "mtu": "large" }\n  ]\n}\n',
  );
});
afterAll(() => dir[Symbol.dispose]());

const cni = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> =>
  run([heddle.at("heddle"), "cni", ...args], {
    env: { ...plainEnv, ...env },
    mustSucceed: false,
    cwd: dir.path,
  });

describe("heddle cni validate", () => {
  test("finds nothing in a list that is right and ends with 0", async () => {
    expect(await cni(["validate", "good.conflist"])).toMatchObject({
      code: 0,
      stdout: "1 file: nothing found\n",
      stderr: "",
    });
  });

  test("shows every finding at its place and ends with 1", async () => {
    const { code, stdout, stderr } = await cni(["validate", "bad.conflist", "good.conflist"]);
    expect([code, stderr]).toEqual([1, ""]);
    expect(stdout.split("\n")).toEqual([
      'bad.conflist:5:25: error: bridge has no option "isGatway"; did you mean "isGateway"?',
      '      { "type": "bridge", "isGatway": true, "mtu": "large" }',
      "                          ^^^^^^^^^^",
      'bad.conflist:5:50: error: mtu: must be a whole number, not the string "large"',
      '      { "type": "bridge", "isGatway": true, "mtu": "large" }',
      "                                                   ^^^^^^^",
      "2 files: 2 errors, 0 warnings",
      "",
    ]);
  });

  test("ends with 0 when there are warnings alone", async () => {
    const { code, stdout } = await cni(["validate", "warned.conf"]);
    expect(code).toBe(0);
    expect(stdout).toContain("warned.conf:1:1: warning: cniVersion: is missing, which means 0.1.0");
    expect(stdout).toEndWith("1 file: 0 errors, 1 warning\n");
  });

  test("takes a directory for the configurations in it, and prints JSON", async () => {
    const { code, stdout } = await cni(["validate", ".", "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual([
      {
        file: "bad.conflist",
        line: 5,
        column: 25,
        severity: "error",
        path: "plugins[0].isGatway",
        message: 'bridge has no option "isGatway"; did you mean "isGateway"?',
      },
      expect.objectContaining({ line: 5, column: 50, path: "plugins[0].mtu" }),
      expect.objectContaining({ file: "warned.conf", severity: "warning" }),
    ]);
    expect(JSON.parse((await cni(["validate", "--json", "good.conflist"])).stdout)).toEqual([]);
  });

  test("tells of a file that it cannot read, and checks the others", async () => {
    const { code, stdout } = await cni(["validate", "nowhere.conflist", "bad.conflist"]);
    expect(code).toBe(1);
    expect(stdout).toContain("nowhere.conflist:1:1: error: read nowhere.conflist: ENOENT\n");
    expect(stdout).toContain("2 files: 3 errors");
  });

  test("fails for a directory without configurations, and without arguments", async () => {
    mkdirSync(dir.in("empty"), { recursive: true });
    expect(await cni(["validate", "empty"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("no network configuration in empty"),
    });
    expect(await cni(["validate"])).toMatchObject({ code: 1, stderr: expect.stringContaining("files") });
  });

  test("looks for plugins of others in CNI_PATH", async () => {
    // Another test reads every configuration of the folder itself.
    mkdirSync(dir.in("other"), { recursive: true });
    writeFileSync(
      dir.in("other", "theirs.json"),
      '{ "cniVersion": "1.0.0", "name": "n", "type": "theirs", "any": 1 }',
    );
    mkdirSync(dir.in("bin"), { recursive: true });
    writeFileSync(dir.in("bin", "theirs"), "");
    const found = await cni(["validate", "other/theirs.json"], { CNI_PATH: dir.in("bin") });
    expect(found.stdout).toContain(`its options are not checked (found ${dir.in("bin", "theirs")})`);
    expect(found.code).toBe(0);
  });
});

describe("a directory with a pipe and a device in place of configurations", () => {
  const withBoth = async (): Promise<TempDir> => {
    const conf = tempDir("lists");
    await run(["mkfifo", conf.in("1-pipe.conflist")]);
    symlinkSync("/dev/zero", conf.in("2-zero.conflist"));
    writeFileSync(conf.in("3-good.conflist"), readFileSync(dir.in("good.conflist")));
    return conf;
  };
  const told = ["1-pipe.conflist", "2-zero.conflist"];

  test("is validated: both are told, and the others are looked at", async () => {
    using conf = await withBoth();
    const { code, stdout } = await cni(["validate", conf.path]);
    expect(code).toBe(1);
    for (const name of told) expect(stdout).toContain(`error: ${conf.in(name)}: is not a file`);
    expect(stdout).toEndWith("3 files: 2 errors, 0 warnings\n");
  });

  test("completes the networks of the others", async () => {
    using conf = await withBoth();
    const argv = [heddle.at("heddle"), "completion", "--values", "network"];
    const { stdout } = await run(argv, { env: { ...plainEnv, NETCONFPATH: conf.path } });
    expect(stdout).toStartWith("mynet\t");
  });

  test("is looked at by the doctor, who tells both", async () => {
    using conf = await withBoth();
    const { stdout } = await run([heddle.at("heddle"), "doctor", "--json"], {
      env: { ...plainEnv, NETCONFPATH: conf.path },
      mustSucceed: false,
    });
    for (const name of told) expect(stdout).toContain(`${conf.in(name)}: is not a file`);
  });
});

test("heddle cni validate reads a stream that is meant so, up to the limit", async () => {
  const validate = (stdin: string): Promise<Outcome> =>
    run([heddle.at("heddle"), "cni", "validate", "/dev/stdin"], { env: plainEnv, stdin, mustSucceed: false });
  expect((await validate(readFileSync(dir.in("good.conflist"), "utf8"))).stdout).toBe(
    "1 file: nothing found\n",
  );
  const { stdout } = await cni(["validate", "/dev/zero"]);
  expect(stdout).toContain("/dev/zero: larger than 1048576 bytes");
});

describe("heddle cni pack", () => {
  test("prints a list of one entry, in which validation finds nothing", async () => {
    const { code, stdout, stderr } = await cni(["pack", "good.conflist"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toMatchObject({
      name: "mynet",
      plugins: [{ type: "heddle-chain", capabilities: { portMappings: true } }],
    });
    using packed = tempDir("packed");
    writeFileSync(packed.in("x.conflist"), stdout);
    expect((await cni(["validate", packed.in("x.conflist")])).stdout).toBe("1 file: nothing found\n");
  });

  test("finds a network by its name, and writes the list into a file", async () => {
    using nets = tempDir("nets");
    writeFileSync(nets.in("10.conflist"), readFileSync(dir.in("good.conflist")));
    using out = tempDir("out");
    const env = { NETCONFPATH: nets.path };
    expect(await cni(["pack", "mynet", "--output", out.in("packed.conflist")], env)).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "",
    });
    expect(readFileSync(out.in("packed.conflist"), "utf8")).toBe((await cni(["pack", "mynet"], env)).stdout);
    expect(readdirSync(out.path)).toEqual(["packed.conflist"]);
  });

  test("refuses what is packed, what is no list, and a network that is not there", async () => {
    using out = tempDir("out");
    expect((await cni(["pack", "good.conflist", "-o", out.in("p.conflist")])).code).toBe(0);
    const cases = [
      [out.in("p.conflist"), "the list is packed already"],
      [dir.in("theirs", "x.conflist"), "ENOENT"],
      ["nowhere", "no network configuration"],
    ] as const;
    for (const [list, why] of cases) {
      const target = out.in("not-written.conflist");
      const { code, stderr } = await cni(["pack", list, "-o", target], { NETCONFPATH: out.in("none") });
      expect([code, existsSync(target)]).toEqual([1, false]);
      expect(stderr).toContain(why);
    }
    expect(await cni(["pack", "good.conflist", "-o", out.in("none", "x")])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("ENOENT"),
    });
  });
});
