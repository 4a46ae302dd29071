/** Every executable that is packaged: it compiles for its machine, and starts, some of them under emulation. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build, crossTargets } from "../../scripts/build.ts";
import { unpackDebian } from "../../scripts/debian.ts";
import { targets } from "../../scripts/package/targets.ts";
import { cacheDir } from "../../scripts/paths.ts";
import type { CrossTarget } from "../../scripts/bun-for.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type Outcome, run } from "../../src/testing/run.ts";
import { type TempDir, tempDir } from "../../src/testing/temp-dir.ts";
import { muslSystem } from "./musl.ts";

const LIMIT_MS = 600_000;
let executables: ReadonlyMap<string, string>;
beforeAll(async () => {
  const made: [string, string][] = [];
  for (const target of crossTargets) made.push([target, await build(target)]);
  executables = new Map(made);
}, LIMIT_MS);
const pathOf = (target: string): string => executables.get(target) ?? "";

/** ELF e_machine (elf.h), and the loader that the file asks for. */
const MACHINES = { amd64: 62, arm64: 183 } as const;
const loaders = {
  "glibc amd64": "/lib64/ld-linux-x86-64.so.2",
  "glibc arm64": "/lib/ld-linux-aarch64.so.1",
  "musl amd64": "/lib/ld-musl-x86_64.so.1",
  "musl arm64": "/lib/ld-musl-aarch64.so.1",
} as const;

describe("an executable", () => {
  test.each(targets.map((t) => [t.name, t] as const))("for %s is for that machine and C library", (_, t) => {
    const file = readFileSync(pathOf(t.build));
    expect(file.subarray(0, 4).toString("latin1")).toBe("\x7fELF");
    expect(file.readUInt16LE(18)).toBe(MACHINES[t.oci]);
    expect(file.includes(`${loaders[`${t.libc} ${t.oci}`]}\0`)).toBe(true);
  });

  test("for Windows is for that machine", () => {
    const windows = readFileSync(pathOf("bun-windows-x64"));
    expect(windows.subarray(0, 2).toString("latin1")).toBe("MZ");
    const header = windows.readUInt32LE(0x3c);
    expect(windows.subarray(header, header + 4).toString("latin1")).toBe("PE\0\0");
    expect(windows.readUInt16LE(header + 4)).toBe(0x8664);
  });
});

const aptTest = testWith({ programs: ["apt-get", "dpkg"] });

/** QEMU runs programs of other machines as processes of this one. Nothing is installed. */
describe("under emulation", () => {
  let dir: TempDir;
  let emulators: string;
  let armLibraries: string;
  beforeAll(async () => {
    dir = tempDir("emulated");
    emulators = join(cacheDir("debian"), "qemu-user-static");
    await unpackDebian(emulators, "bookworm", (apt) => apt.download(["qemu-user-static"]));
    armLibraries = join(cacheDir("debian"), "libc6-arm64");
    const libc = ["libc6:arm64"];
    await unpackDebian(armLibraries, "bookworm", (apt) => apt.download(libc), undefined, "arm64");
    await muslSystem(dir.in("musl-amd64"), "amd64");
    await muslSystem(dir.in("musl-arm64"), "arm64");
  }, LIMIT_MS);
  afterAll(() => dir[Symbol.dispose]());

  const old = ["qemu-x86_64-static", "-cpu", "Nehalem"];
  const arm = "qemu-aarch64-static";
  const emulated: readonly (readonly [string, CrossTarget, () => readonly string[]])[] = [
    ["arm64", "bun-linux-arm64", () => [arm, "-L", armLibraries]],
    ["arm64 with musl", "bun-linux-arm64-musl", () => [arm, "-L", dir.in("musl-arm64")]],
    ["processors without AVX", "bun-linux-x64-baseline", () => old],
    [
      "processors without AVX, with musl",
      "bun-linux-x64-baseline-musl",
      () => [...old, "-L", dir.in("musl-amd64")],
    ],
  ];
  aptTest.each(emulated)(
    "the one for %s is a plugin",
    async (_, target, emulator) => {
      const [program = "", ...options] = emulator();
      // By a plugin's name, with the verb VERSION.
      const argv = [join(emulators, "usr/bin", program), ...options, "-0", "bridge", pathOf(target)];
      const { stdout } = await run(argv, {
        env: { CNI_COMMAND: "VERSION" },
        stdin: '{"cniVersion":"1.1.0"}',
        timeoutMs: 120_000,
      });
      expect(JSON.parse(stdout)).toMatchObject({
        supportedVersions: expect.arrayContaining(["0.1.0", "1.1.0"]) as string[],
      });
    },
    LIMIT_MS,
  );
});

describe("on a system with musl and no other program", () => {
  const programs = ["apt-get", "dpkg", "unshare", "pivot_root"];
  const lab = ["/opt/cni/bin/heddle", "lab"];
  testWith({ root: true, programs }).each([["udp"], ["vxlan"]])(
    "containers of two hosts reach one another over %s, and nothing stays",
    async (backend) => {
      using dir = tempDir("musl");
      const root = dir.in("root");
      await muslSystem(root, "amd64");
      mkdirSync(join(root, "opt/cni/bin"), { recursive: true });
      copyFileSync(pathOf("bun-linux-x64-musl"), join(root, "opt/cni/bin/heddle"));
      const argvs = [
        [...lab, "up", "--hosts", "2", "--provider", "flannel", "--backend", backend],
        [...lab, "ping"],
        [...lab, "down"],
        [...lab, "list"],
      ];
      const own = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
      const { stdout } = await run(
        [...own, "--", process.execPath, join(import.meta.dir, "in-root.ts"), root],
        { stdin: JSON.stringify(argvs), timeoutMs: LIMIT_MS },
      );
      const [up, ping, down, list] = JSON.parse(stdout) as readonly Outcome[];
      expect(up).toMatchObject({ code: 0 });
      expect(ping).toMatchObject({ code: 0, stdout: expect.stringContaining("16 of 16 reached") as string });
      expect(down).toMatchObject({ code: 0 });
      expect(list).toMatchObject({ code: 0 });
    },
    LIMIT_MS,
  );
});
