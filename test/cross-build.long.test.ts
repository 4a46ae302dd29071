import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { inProject } from "../scripts/paths.ts";
import { run } from "../src/testing/run.ts";

/** Where the formats name the machine: ELF e_machine is 183 for AArch64, the PE header says 0x8664 for x86-64. */
test("the executables for arm64 and Windows compile, each for its machine", async () => {
  await run([process.execPath, inProject("scripts/build.ts"), "--all"], {
    timeoutMs: 600_000,
    env: { ...(process.env as Record<string, string>) },
  });
  const arm = readFileSync(inProject("dist/heddle-linux-arm64"));
  expect(arm.subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  expect(arm.readUInt16LE(18)).toBe(183);
  const windows = readFileSync(inProject("dist/heddle-windows-x64.exe"));
  expect(windows.subarray(0, 2).toString("latin1")).toBe("MZ");
  const header = windows.readUInt32LE(0x3c);
  expect(windows.subarray(header, header + 4).toString("latin1")).toBe("PE\0\0");
  expect(windows.readUInt16LE(header + 4)).toBe(0x8664);
}, 600_000);
