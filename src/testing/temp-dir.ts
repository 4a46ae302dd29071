/** A directory of one test: empty at the start, gone at the end of the block that made it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TempDir extends Disposable {
  readonly path: string;
  /** The path of something inside. */
  in(...parts: readonly string[]): string;
}

/** Makes the directory; bind it with `using`. */
export function tempDir(label = "test"): TempDir {
  const path = mkdtempSync(join(tmpdir(), `heddle-${label}-`));
  return {
    path,
    in: (...parts) => join(path, ...parts),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
