import { expect, test } from "bun:test";
import { inProject } from "../../scripts/paths.ts";
import { defects } from "./defects.ts";
import { known } from "./known.ts";

const text = (await Bun.file(inProject("docs/differences.md")).text()).replaceAll(/\s+/g, " ");

test("every difference from the reference that a comparison passes over is written down", () => {
  expect(known.map(({ row }) => row).filter((row) => !text.includes(row))).toEqual([]);
});

test("every defect of the reference that is not repeated is written down", () => {
  expect(
    Object.values(defects)
      .flat()
      .filter((row) => !text.includes(row)),
  ).toEqual([]);
});
