import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { statPath } from "../../sys/files.ts";

/**
 * Directories whose changes are told, also of those that are not there yet, or go and come again: then what is watched is
 * the nearest directory above, until they are there.
 */
export interface WatchedDirectories extends Disposable {
  /**
   * Watches these and no others. To be called again after every change: it notices what was replaced. True if it watches
   * one that it did not watch before.
   */
  set(paths: readonly string[]): boolean;
}

interface Armed {
  readonly watcher: FSWatcher;
  readonly file: string;
}

export function watchDirectories(changed: () => void): WatchedDirectories {
  const armed = new Map<string, Armed>();
  const drop = (path: string): void => {
    armed.get(path)?.watcher.close();
    armed.delete(path);
  };
  const arm = (path: string): boolean => {
    const file = fileAt(path);
    if (file === undefined || armed.get(path)?.file === file) return false;
    drop(path);
    const watcher = watch(path, (type, name) => {
      // It was removed itself, and the next one in its place may have its number.
      if (type === "rename" && name === basename(path)) drop(path);
      changed();
    });
    // It went at this moment; the next call looks what is there.
    watcher.on("error", changed);
    armed.set(path, { watcher, file });
    return true;
  };
  return {
    set(paths) {
      const wanted = new Set(paths.map(nearest));
      for (const path of armed.keys()) if (!wanted.has(path)) drop(path);
      return [...wanted].map(arm).includes(true);
    },
    [Symbol.dispose]() {
      for (const path of [...armed.keys()]) drop(path);
    },
  };
}

function nearest(path: string): string {
  return path === "/" || fileAt(path) !== undefined ? path : nearest(dirname(path));
}

function fileAt(path: string): string | undefined {
  const found = statPath(path);
  return found && `${found.dev} ${found.ino}`;
}
