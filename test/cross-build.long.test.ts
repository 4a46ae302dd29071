/** Every executable that is packaged: it compiles for its machine, and what another kind of this machine or arm64 runs starts. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { build, crossTargets } from "../scripts/build.ts";
import { unpackDebian } from "../scripts/debian.ts";
import { targets } from "../scripts/package/targets.ts";
import { cacheDir } from "../scripts/paths.ts";
import { testWith } from "../src/testing/needs.ts";
import { run } from "../src/testing/run.ts";
import { type TempDir, tempDir } from "../src/testing/temp-dir.ts";

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

/** QEMU runs programs of other machines as processes of this one. Nothing is installed. */
describe("under emulation", () => {
  const aptTest = testWith({ programs: ["apt-get", "dpkg"] });
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
  }, LIMIT_MS);
  afterAll(() => dir[Symbol.dispose]());

  /** Calls the executable by a plugin's name with the verb VERSION. */
  async function versionOf(emulator: string, options: readonly string[], target: string): Promise<unknown> {
    const plugin = dir.in(`${target}-bridge`);
    symlinkSync(pathOf(target), plugin);
    const argv = [join(emulators, "usr/bin", emulator), ...options, "-0", "bridge", plugin];
    const { stdout } = await run(argv, {
      env: { CNI_COMMAND: "VERSION" },
      stdin: '{"cniVersion":"1.1.0"}',
      timeoutMs: 120_000,
    });
    return JSON.parse(stdout);
  }
  const answer = { supportedVersions: expect.arrayContaining(["0.1.0", "1.1.0"]) as string[] };

  aptTest(
    "the one for arm64 is a plugin",
    async () => {
      const options = ["-L", armLibraries];
      expect(await versionOf("qemu-aarch64-static", options, "bun-linux-arm64")).toMatchObject(answer);
    },
    LIMIT_MS,
  );

  aptTest(
    "the one for older processors is a plugin on a processor without AVX",
    async () => {
      const options = ["-cpu", "Nehalem"];
      expect(await versionOf("qemu-x86_64-static", options, "bun-linux-x64-baseline")).toMatchObject(answer);
    },
    LIMIT_MS,
  );
});
