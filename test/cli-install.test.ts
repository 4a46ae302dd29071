import { describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { pluginTypes } from "../src/plugins/registry.ts";
import { heddleOfFile, runPlugin } from "../src/testing/executable.ts";
import { run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const heddle = heddleOfFile();

const installTo = (dir: string, args: readonly string[] = [], program = heddle.path) =>
  run([program, "install", "--cni-bin-dir", dir, ...args], { mustSucceed: false });
const everything = ["heddle", ...pluginTypes].toSorted();
const [somePlugin = ""] = pluginTypes;

describe("heddle install", () => {
  test("places one file and a relative link for every plugin, which works", async () => {
    using dir = tempDir();
    const { code } = await installTo(dir.in("new", "bin"));
    expect(code).toBe(0);
    expect(readdirSync(dir.in("new", "bin")).toSorted()).toEqual(everything);
    for (const type of pluginTypes) expect(readlinkSync(dir.in("new", "bin", type))).toBe("heddle");
    expect(statSync(dir.in("new", "bin", "heddle")).mode & 0o777).toBe(0o755);
    const { json } = await runPlugin(dir.in("new", "bin", somePlugin), { command: "VERSION" }, "");
    expect(json).toHaveProperty("supportedVersions");
  });

  test("in the usual directory gives a small file the name that flanneld's DaemonSet copies its plugin to", async () => {
    using dir = tempDir();
    const usual = dir.in("host", "opt", "cni", "bin");
    expect((await installTo(usual)).code).toBe(0);
    expect(readFileSync(`${usual}/flannel`, "utf8")).toBe("#!/opt/cni/bin/heddle as-plugin\n");
    expect(statSync(`${usual}/flannel`).mode & 0o777).toBe(0o755);
    expect(readlinkSync(`${usual}/bridge`)).toBe("heddle");
    const before = statSync(`${usual}/heddle`);
    writeFileSync(dir.in("flannel"), "flanneld's own");
    await run(["cp", "-f", dir.in("flannel"), `${usual}/flannel`]);
    expect(readFileSync(`${usual}/flannel`, "utf8")).toBe("flanneld's own");
    expect(statSync(`${usual}/heddle`)).toMatchObject({ size: before.size, mtimeMs: before.mtimeMs });
    expect((await installTo(usual)).stderr).toContain("flannel");
    expect((await installTo(usual, ["--force"])).stdout).toContain("replaced   flannel");
    expect((await installTo(usual)).stdout).toContain("unchanged  flannel");
  });

  test("replaces the link that an earlier release gave that name", async () => {
    using dir = tempDir();
    const usual = dir.in("opt", "cni", "bin");
    mkdirSync(usual, { recursive: true });
    symlinkSync("heddle", `${usual}/flannel`);
    expect((await installTo(usual)).stdout).toContain("replaced   flannel");
    expect(lstatSync(`${usual}/flannel`).isFile()).toBe(true);
  });

  test("replaces the small files that a copy of the image's directory has", async () => {
    using dir = tempDir();
    writeFileSync(dir.in(somePlugin), "#!/opt/cni/bin/heddle as-plugin\n", { mode: 0o755 });
    expect((await installTo(dir.path)).stdout).toContain(`replaced   ${somePlugin}`);
    expect(readlinkSync(dir.in(somePlugin))).toBe("heddle");
  });

  test("doing it again changes nothing", async () => {
    using dir = tempDir();
    await installTo(dir.path);
    const before = everything.map((name) => lstatSync(dir.in(name)).ino);
    const { code, stdout } = await installTo(dir.path);
    expect(code).toBe(0);
    expect(stdout.match(/^unchanged/gm)).toHaveLength(everything.length);
    expect(everything.map((name) => lstatSync(dir.in(name)).ino)).toEqual(before);
  });

  test("run from the very file that is installed, it restores missing links", async () => {
    using dir = tempDir();
    await installTo(dir.path);
    const { ino } = statSync(dir.in("heddle"));
    await Bun.file(dir.in(somePlugin)).delete();
    const { code, stdout } = await installTo(dir.path, [], dir.in("heddle"));
    expect(code).toBe(0);
    expect(stdout).toContain(`created    ${somePlugin}`);
    expect(statSync(dir.in("heddle")).ino).toBe(ino);
  });

  test("an older heddle is replaced without asking", async () => {
    using dir = tempDir();
    const { executableMark } = await import("../src/build-info.ts");
    writeFileSync(dir.in("heddle"), `an older version, ${executableMark}`);
    const { code, stdout } = await installTo(dir.path);
    expect(code).toBe(0);
    expect(stdout).toContain("replaced   heddle");
    expect(statSync(dir.in("heddle")).size).toBe(statSync(heddle.path).size);
  });

  test("a foreign file is named and nothing at all is changed", async () => {
    using dir = tempDir();
    writeFileSync(dir.in(somePlugin), "somebody else's plugin");
    const { code, stderr } = await installTo(dir.path);
    expect(code).toBe(1);
    expect(stderr).toContain(somePlugin);
    expect(stderr).toContain("--force");
    expect(readdirSync(dir.path)).toEqual([somePlugin]);
    expect(readFileSync(dir.in(somePlugin), "utf8")).toBe("somebody else's plugin");
  });

  test("a foreign link is foreign too, and what it points to survives --force", async () => {
    using dir = tempDir();
    writeFileSync(dir.in("elsewhere"), "kept");
    symlinkSync("elsewhere", dir.in(somePlugin));
    expect((await installTo(dir.path)).code).toBe(1);
    expect((await installTo(dir.path, ["--force"])).code).toBe(0);
    expect(readlinkSync(dir.in(somePlugin))).toBe("heddle");
    expect(readFileSync(dir.in("elsewhere"), "utf8")).toBe("kept");
  });

  test("--force replaces foreign files", async () => {
    using dir = tempDir();
    writeFileSync(dir.in(somePlugin), "somebody else's plugin");
    writeFileSync(dir.in("heddle"), "something else");
    const { code, stdout } = await installTo(dir.path, ["--force"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`replaced   ${somePlugin}`);
    expect(readlinkSync(dir.in(somePlugin))).toBe("heddle");
  });

  test("a directory in the way is refused even with --force", async () => {
    using dir = tempDir();
    mkdirSync(dir.in(somePlugin));
    const { code, stderr } = await installTo(dir.path, ["--force"]);
    expect(code).toBe(1);
    expect(stderr).toContain(somePlugin);
    expect(readdirSync(dir.path)).toEqual([somePlugin]);
  });

  test("removes the unfinished files of an installation that was killed", async () => {
    using dir = tempDir();
    // No process has this id: it is above the kernel's largest (2^22, linux/threads.h).
    const abandoned = ".heddle-install-4194399-1";
    writeFileSync(dir.in(abandoned), "half a file");
    await installTo(dir.path);
    expect(existsSync(dir.in(abandoned))).toBe(false);
  });

  test("--conflist places a network's configuration after the plugins, if it is one", async () => {
    using dir = tempDir();
    const list = (name: string): string =>
      JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "bridge" }] });
    const to = dir.in("net.d", "10-mine.conflist");
    const place = (text: string) => {
      writeFileSync(dir.in("list.json"), text);
      return installTo(dir.in("bin"), [`--conflist=${dir.in("list.json")}`, `--conflist-to=${to}`]);
    };
    expect((await place("{}")).code).toBe(1);
    expect(existsSync(to)).toBe(false);
    for (const [name, what] of [
      ["a", "created"],
      ["a", "unchanged"],
      ["b", "replaced"],
    ] as const) {
      const { code, stdout } = await place(list(name));
      expect([code, stdout.trimEnd().split("\n").at(-1)]).toEqual([0, `${what.padEnd(9)}  ${to}`]);
      expect(readFileSync(to, "utf8")).toBe(list(name));
    }
    expect(statSync(to).mode & 0o777).toBe(0o644);
    expect(readdirSync(dir.in("net.d"))).toEqual(["10-mine.conflist"]);
    expect((await installTo(dir.in("bin"), [`--conflist-to=${to}`])).stderr).toContain(
      "--conflist has to say what",
    );
  });

  test("--conflist writes through no link, neither at the file's name nor at one that can be foreseen", async () => {
    using dir = tempDir();
    const list = JSON.stringify({ cniVersion: "1.0.0", name: "a", plugins: [{ type: "bridge" }] });
    writeFileSync(dir.in("list.json"), list);
    writeFileSync(dir.in("victim"), "mine");
    const to = dir.in("to.conflist");
    const argv = [heddle.path, "install", "--cni-bin-dir", dir.in("bin"), "--conflist", dir.in("list.json")];
    // The shell's process is the one of heddle afterwards, so that its number is known before.
    const script = `for name in ${to} ${to}.heddle-install-$$ ${dir.path}/.to.conflist.$$; do ln -s ${dir.in("victim")} $name; done; exec "$@"`;
    const { stdout } = await run(["sh", "-c", script, "sh", ...argv, "--conflist-to", to]);
    expect(stdout).toEndWith(`replaced   ${to}\n`);
    expect([readFileSync(to, "utf8"), readFileSync(dir.in("victim"), "utf8")]).toEqual([list, "mine"]);
    expect(lstatSync(to).isFile()).toBe(true);
  });

  test("a directory that cannot be made is one clear error", async () => {
    const { code, stderr } = await installTo("/proc/nowhere/bin");
    expect(code).toBe(1);
    expect(stderr).toContain("mkdir");
    expect(stderr).not.toContain("    at ");
  });
});
