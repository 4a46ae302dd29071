/** What the package's scripts repeat of the program, because nothing of it is there yet when they run. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { executableMark } from "../../src/build-info.ts";
import { PLUGIN_STUB } from "../../src/cli/install-files.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { inProject } from "../paths.ts";

const preinst = readFileSync(inProject("packaging/debian/preinst"), "utf8");

test("preinst looks at the executable and at every plugin of the registry", () => {
  const names = /^for name in (.*); do$/m.exec(preinst)?.[1]?.split(" ");
  expect(names).toEqual(["heddle", ...pluginTypes]);
});

test("preinst knows a small file of heddle install, and its executable", () => {
  expect(preinst).toContain(`echo '${PLUGIN_STUB.trimEnd()}' | cmp -s -`);
  expect(preinst).toContain(`grep -qF ${executableMark} `);
});
