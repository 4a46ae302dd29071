/** The project's own files as text, for the tests that look at them: sources with their imports, and documents. */
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const root = join(import.meta.dir, "../..");

export interface Source {
  /** From the project's folder, for example `src/net/ip.ts`. */
  readonly path: string;
  readonly text: string;
  /** The text with comments blanked out, line for line. */
  readonly code: string;
  /** Paths of the project's files that this one imports: statically, lazily, or for types alone. */
  readonly imports: readonly string[];
  /** Names of packages and built-in modules. */
  readonly modules: readonly string[];
}

/** Paths from the project's folder that match, sorted. */
export const filesOf = (pattern: string): readonly string[] =>
  [...new Bun.Glob(pattern).scanSync({ cwd: root, dot: true })]
    .filter((path) => !/(?:^|\/)(?:node_modules|dist|\.cache|\.git)\//.test(path))
    .toSorted();

export const textOf = (path: string): string => readFileSync(join(root, path), "utf8");

/** The TypeScript files that match. */
export const sourcesOf = (pattern: string): readonly Source[] => filesOf(pattern).map(sourceOf);

function sourceOf(path: string): Source {
  const text = textOf(path);
  const code = withoutComments(text);
  // Bun.Transpiler.scanImports leaves out imports that are for types alone.
  const wanted = [...code.matchAll(/\b(?:from|import)\s*\(?\s*"([^"\n]+)"/g)].map((match) => match[1] ?? "");
  return {
    path,
    text,
    code,
    imports: wanted.filter((to) => to.startsWith(".")).map((to) => normalize(join(dirname(path), to))),
    modules: wanted.filter((to) => !to.startsWith(".")),
  };
}

const withoutComments = (text: string): string =>
  text
    .replaceAll(/\/\*[\s\S]*?\*\//g, (comment) => comment.replaceAll(/[^\n]/g, " "))
    .replaceAll(/^(\s*)\/\/.*$/gm, "$1");

/** Functions at the outer level of a file with their length in lines; formatting puts their ends at the margin. */
export function functionsOf(source: Source): readonly { readonly name: string; readonly lines: number }[] {
  const lines = source.code.split("\n");
  return lines.flatMap((line, start) => {
    const name =
      /^(?:export )?(?:async )?function\*? (\w+)/.exec(line)?.[1] ??
      /^(?:export )?const (\w+)\b.*(?:=>|\()\s*\{?$/.exec(line)?.[1];
    if (name === undefined) return [];
    const end = lines.findIndex(
      (other, at) => at > start && /^[)}\]]/.test(other) && !/^[)}\]].*[{(]$/.test(other),
    );
    return end < 0 ? [] : [{ name, lines: end - start + 1 }];
  });
}
