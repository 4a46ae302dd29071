/** Where things stand in the project's folder, for its scripts. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

export const projectDir = join(import.meta.dir, "..");
export const inProject = (...parts: readonly string[]): string => join(projectDir, ...parts);

/** A folder below `.cache/`, which git ignores: what can be had again, but not for nothing. */
export function cacheDir(name: string): string {
  const path = inProject(".cache", name);
  mkdirSync(path, { recursive: true });
  return path;
}
