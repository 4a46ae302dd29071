import { makeDirs } from "../sys/files.ts";
import { type Lock, lockFile } from "../sys/flock.ts";
import { runDir } from "./record.ts";

/**
 * A lock of this host by name, for what several attachments look at and change together. It is waited for without a
 * bound and goes with its owner.
 */
export function lockHost(name: string): Lock {
  const dir = `${runDir()}/lock`;
  makeDirs(dir, 0o700);
  return lockFile(`${dir}/${name}`, "exclusive");
}
