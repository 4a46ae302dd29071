/** What becomes of tests with a ground whose packages cannot be fetched. */
import { expect } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { GROUND_NEEDS } from "./root-tree.ts";

/** Asks for a tree in a process of its own, whose apt fetches nothing. */
async function asked(env: Readonly<Record<string, string>>) {
  using dir = tempDir("apt");
  writeFileSync(dir.in("apt-get"), "#!/bin/sh\nexit 1\n");
  chmodSync(dir.in("apt-get"), 0o755);
  const script = `
    import { rootTree } from ${JSON.stringify(inProject("test/runtimes/root-tree.ts"))};
    console.log(await rootTree("never", "bookworm", ["never"]));`;
  return await run([process.execPath, "-e", script], {
    env: { PATH: `${dir.path}:${process.env["PATH"] ?? ""}`, ...env },
    mustSucceed: false,
  });
}

testWith(GROUND_NEEDS)("packages that cannot be fetched skip tests, and fail npm run test:all", async () => {
  const usual = await asked({});
  expect(usual).toMatchObject({ code: 0, stdout: "undefined\n" });
  expect(usual.stderr).toContain("skipped: never is not here");
  const all = await asked({ HEDDLE_ALL: "1" });
  expect(all.code).not.toBe(0);
  expect(all.stderr).toContain("never is not here, and npm run test:all needs it");
});
