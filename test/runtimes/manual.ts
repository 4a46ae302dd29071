/**
 * The steps of `docs/runtimes.md`: what its page tells an operator to do for a runtime is what the tests do before they
 * start it. A file is marked `<!-- file PATH -->`, commands `<!-- run -->`, each before a fenced block.
 */
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { plainEnv } from "../../src/testing/run.ts";
import type { Ground } from "./ground.ts";

export type Step = { readonly file: string; readonly content: string } | { readonly commands: string };

/** The whole page. */
export const manual = (): string => readFileSync(inProject("docs/runtimes.md"), "utf8");

/** The steps of the section with this heading, in the page's order. */
export function stepsOf(heading: string): readonly Step[] {
  const sections = manual().split(/^## /m);
  const section = sections.find((text) => text.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`docs/runtimes.md has no section ${heading}`);
  const blocks = section.matchAll(/^<!-- (?:file (\S+)|run) -->\n\n```\w+\n([^]*?)^```$/gm);
  return [...blocks].map(([, file, content = ""]) =>
    file === undefined ? { commands: content } : { file, content },
  );
}

export interface Following {
  /** May change a file's content on its way. */
  readonly edit?: (content: string, file: string) => string;
  /** The variables of the commands; by default only a `PATH`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Does what the section says on a ground. */
export async function follow(
  on: Ground,
  heading: string,
  { edit = (content) => content, env = plainEnv }: Following = {},
): Promise<void> {
  for (const step of stepsOf(heading))
    if ("file" in step) on.write(step.file, edit(step.content, step.file));
    else await on.exec(["sh", "-e", "-c", step.commands], { env });
}
