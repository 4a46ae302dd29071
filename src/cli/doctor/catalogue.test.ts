/** The manual's page of findings and the code tell the same. */
import { expect, test } from "bun:test";
import { textOf } from "../../testing/sources.ts";
import { catalogue } from "./catalogue.ts";

const page = textOf("docs/doctor.md");
const sections = new Map(
  page
    .slice(page.indexOf("\n## Findings\n"))
    .split(/^### /m)
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf("\n")), part] as const),
);

test("docs/doctor.md has a section for every finding, in the order of the report, and for no other", () => {
  expect([...sections.keys()]).toEqual(Object.keys(catalogue));
});

test.each(Object.entries(catalogue))("the section of %s names its severities", (id, { severities }) => {
  expect(sections.get(id)).toContain(`\nSeverity: ${severities.join(", ")}. `);
});

test("what is said when nothing was found is no sentence, and why a finding matters is one", () => {
  for (const { fine, why } of Object.values(catalogue)) {
    expect(fine).not.toEndWith(".");
    expect(why).toMatch(/^[^.]+(?:\.[^ ][^.]*)*\.$/);
  }
});
