/**
 * The lock of a namespace: for plugins that choose something in a container that is to be free, such as the number of a
 * table, while other plugins may do the same. It is a file among our own, named by the namespace's device and inode, and
 * goes when it is given back.
 */
import { makeDirs, removeIfThere } from "../sys/files.ts";
import { lockFile } from "../sys/flock.ts";
import type { Netns } from "../sys/netns.ts";
import { runDir } from "./record.ts";

/** Waits until nobody else has it. */
export function lockNetns({ dev, ino }: Pick<Netns, "dev" | "ino">): Disposable {
  const dir = `${runDir()}/lock`;
  makeDirs(dir, 0o700);
  const path = `${dir}/netns-${dev}-${ino}`;
  const lock = lockFile(path, "exclusive");
  return {
    [Symbol.dispose]() {
      // Whoever waits for this file finds that it is gone, and makes the next one.
      removeIfThere(path);
      lock[Symbol.dispose]();
    },
  };
}
