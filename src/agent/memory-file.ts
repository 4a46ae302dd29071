/** The file in which an agent keeps what it knows: whole at every moment, on the disk, readable by its own user alone. */
import { constants } from "node:fs";
import { open, rename } from "node:fs/promises";
import { NetError } from "../errors.ts";
import { requireTrusted } from "../netstate/trusted-dir.ts";
import { makeDirs, O, readText, removeIfThere, statLink } from "../sys/files.ts";
import { MEMORY_BYTES, memoryBody, type MemoryOf, memoryText, readMemory } from "./memory.ts";
import type { Known, Recalled } from "./model.ts";

export interface MemoryFile {
  /** What was known; undefined if there is no file. @throws decode/malformed, env/invalid, sys/call */
  read(): Recalled | undefined;
  /** Keeps this, unless it is what stands there; undefined: nothing. @throws as `read` */
  write(known: Known | undefined): Promise<void>;
}

/** Where it is, below a state directory. */
export const memoryDir = (stateDir: string): string => `${stateDir}/agent`;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;

/** `dir`: made with mode 0700. Nobody else may write to it, or to the directory above, which `HEDDLE_STATE_DIR` may name. */
export function memoryFile(
  { dir, name }: { readonly dir: string; readonly name: string },
  of: MemoryOf,
  now: () => number = Date.now,
): MemoryFile {
  const path = `${dir}/${name}.known`;
  const draft = `${path}.new`;
  /** What stands in the file for certain. */
  let kept: string | undefined;
  return {
    read() {
      requireTrusted(dir, "HEDDLE_STATE_DIR");
      const there = statLink(path);
      if (there === undefined) return undefined;
      const why = there.isFile ? `larger than ${MEMORY_BYTES} bytes` : "no file";
      if (!there.isFile || there.size > MEMORY_BYTES)
        throw new NetError("decode/malformed", { what: path, why: `it is ${why}` });
      return readMemory(readText(path, O.NOFOLLOW), of);
    },
    async write(known) {
      requireTrusted(dir, "HEDDLE_STATE_DIR");
      if (known === undefined) {
        kept = undefined;
        if (removeIfThere(path)) await sync(dir);
        return;
      }
      const body = memoryBody(known, of);
      if (body === kept) return;
      kept = undefined;
      makeDirs(dir, 0o700);
      // What a killed agent had not finished.
      removeIfThere(draft);
      await put(draft, memoryText(body, now()));
      await rename(draft, path);
      await sync(dir);
      kept = body;
    },
  };
}

async function put(path: string, content: string): Promise<void> {
  await using file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  await file.writeFile(content);
  await file.sync();
}

async function sync(dir: string): Promise<void> {
  await using there = await open(dir, O_RDONLY);
  await there.sync();
}
