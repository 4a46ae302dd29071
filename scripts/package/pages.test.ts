import { describe, expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";
import { documentFiles, withPlacedLinks } from "./pages.ts";

describe("the documents of an installation", () => {
  const files = documentFiles("doc");
  const paths = new Set(files.map(({ path }) => path));

  test("are pages, examples and the plugins' own", () => {
    for (const path of [
      "doc/errors.md",
      "doc/providers/flannel.md",
      "doc/decisions/0001-bun-ffi.md",
      "doc/plugins/bridge.md",
      "doc/examples/etcd/agent.json",
      "doc/examples/kubernetes/heddle-flannel.yaml",
    ])
      expect(paths).toContain(path);
  });

  test("lead only to what is there", () => {
    let links = 0;
    const lost = files.flatMap((file) => {
      if (!("bytes" in file) || !file.path.endsWith(".md")) return [];
      const targets = [...file.bytes.toString().matchAll(/\]\(([^()\s]+)\)/g)].map(
        ([, target = ""]) => target,
      );
      const own = targets.filter((target) => !/^(?:\w+:|#)/.test(target));
      links += own.length;
      return own
        .filter((target) => !paths.has(normalize(join(dirname(file.path), target.split("#")[0] ?? ""))))
        .map((target) => `${file.path}: ${target}`);
    });
    expect(lost).toEqual([]);
    expect(links).toBeGreaterThan(100);
  });

  test("keep the words of links that lead nowhere, and leave others alone", () => {
    const there = (path: string): string | undefined =>
      ({ "docs/a.md": "a.md", "docs/b/c.md": "b/c.md" })[path];
    const text =
      "[one](../c.md#d) [`two`](../../src/x.ts) [three](https://a.example/b.md) [four](#here) [five](../a.md)";
    expect(withPlacedLinks("docs/b/c.md", text, there)).toBe(
      "one `two` [three](https://a.example/b.md) [four](#here) [five](../a.md)",
    );
  });
});
