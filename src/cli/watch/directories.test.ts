import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tempDir } from "../../testing/temp-dir.ts";
import { watchDirectories } from "./directories.ts";

/** A counter of changes that can be waited for. */
function counter(): { changed: () => void; next: () => Promise<void> } {
  let told = Promise.withResolvers<void>();
  return {
    changed: () => told.resolve(),
    next: async () => {
      await told.promise;
      told = Promise.withResolvers<void>();
    },
  };
}

test("a directory is told of before it is there, while it is, and when it comes again", async () => {
  using dir = tempDir("watched");
  const wanted = dir.in("a/b");
  const { changed, next } = counter();
  using directories = watchDirectories(changed);
  expect(directories.set([wanted])).toBe(true);
  expect(directories.set([wanted])).toBe(false);
  mkdirSync(dir.in("a"));
  await next();
  expect(directories.set([wanted])).toBe(true);
  mkdirSync(wanted);
  await next();
  expect(directories.set([wanted])).toBe(true);
  writeFileSync(`${wanted}/file`, "x");
  await next();
  expect(directories.set([wanted])).toBe(false);
  rmSync(wanted, { recursive: true });
  mkdirSync(wanted);
  await next();
  // Another one at the same place, perhaps of the same number.
  while (!directories.set([wanted])) await next();
  writeFileSync(`${wanted}/file`, "x");
  await next();
});

test("what is not wanted any more is not told of", async () => {
  using dir = tempDir("watched");
  const [one, two] = [dir.in("one"), dir.in("two")];
  for (const path of [one, two]) mkdirSync(path);
  let told = 0;
  const { changed, next } = counter();
  using directories = watchDirectories(() => {
    told++;
    changed();
  });
  directories.set([one, two]);
  directories.set([two]);
  writeFileSync(`${one}/file`, "x");
  expect(told).toBe(0);
  writeFileSync(`${two}/file`, "x");
  await next();
  expect(told).toBeGreaterThan(0);
});
