import { expect, test } from "bun:test";
import { join } from "node:path";
import { projectDir } from "../../scripts/paths.ts";
import { known } from "./known.ts";

test("every difference from the reference that a comparison passes over is written down", async () => {
  const text = (await Bun.file(join(projectDir, "docs/differences.md")).text()).replaceAll(/\s+/g, " ");
  expect(known.map(({ row }) => row).filter((row) => !text.includes(row))).toEqual([]);
});
