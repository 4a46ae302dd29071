/**
 * The documents of an installation: pages, examples and the plugins' READMEs, where they stand in it. Links between them lead
 * on; what a link leads to that an installation does not have, a source file above all, keeps its words alone.
 */
import { readFileSync } from "node:fs";
import { join, normalize, relative, dirname } from "node:path";
import { inProject, projectDir } from "../paths.ts";
import type { TarEntry } from "./tar.ts";

/** Below /usr/share/doc/heddle, by the path in the project; undefined: an installation does not have it. */
function placeOf(path: string): string | undefined {
  const page = /^docs\/(.+\.md)$/.exec(path)?.[1];
  const plugin = /^src\/plugins\/\w+\/([^/]+)\/README\.md$/.exec(path)?.[1];
  if (page !== undefined) return page;
  if (plugin !== undefined) return `plugins/${plugin}.md`;
  return path.startsWith("examples/") ? path : undefined;
}

const LINK = /\[((?:[^[\]]|\[[^\]]*\])+)\]\(([^()\s]+)\)/g;

/** A page as an installation has it. `path` is its own in the project, `there` says which others there are. */
export function withPlacedLinks(
  path: string,
  markdown: string,
  there: (path: string) => string | undefined,
): string {
  const own = there(path) ?? path;
  return markdown.replaceAll(LINK, (all, words: string, target: string) => {
    if (/^(?:\w+:|#)/.test(target)) return all;
    const [file = "", anchor] = target.split("#", 2);
    const place = there(normalize(join(dirname(path), file)));
    if (place === undefined) return words;
    const way = relative(dirname(own), place);
    return `[${words}](${way}${anchor === undefined ? "" : `#${anchor}`})`;
  });
}

/** Every document, at its path below the root. */
export function documentFiles(below: string): readonly TarEntry[] {
  const found = ["docs/**/*.md", "examples/**/*", "src/plugins/*/*/README.md"].flatMap((pattern) => [
    ...new Bun.Glob(pattern).scanSync({ cwd: projectDir, onlyFiles: true }),
  ]);
  const all = new Set(found);
  const there = (path: string): string | undefined => (all.has(path) ? placeOf(path) : undefined);
  return found.toSorted().flatMap((path): readonly TarEntry[] => {
    const place = there(path);
    if (place === undefined) return [];
    const text = readFileSync(inProject(path), "utf8");
    return [
      {
        path: `${below}/${place}`,
        bytes: path.endsWith(".md") ? withPlacedLinks(path, text, there) : text,
      },
    ];
  });
}
