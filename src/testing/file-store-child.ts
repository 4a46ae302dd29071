/** A process that writes to a file store until it is killed, and says on standard output what is written for sure. */
import { openFileStore } from "../fabric/store/file.ts";

/** The program's file. */
export const fileStoreChild = import.meta.path;

async function main([dir = "", key = "", shared = ""]: readonly string[]): Promise<void> {
  const kv = openFileStore({ dir, changes: 20 });
  for (let n = 0; ; n++) {
    await kv.put(key, String(n));
    for (let isCounted = false; !isCounted;) {
      const entry = await kv.get(shared);
      const when = entry === undefined ? ({ absent: true } as const) : { revision: entry.revision };
      isCounted = (await kv.put(shared, String(Number(entry?.value ?? "0") + 1), { when })) !== undefined;
    }
    process.stdout.write(`${n}\n`);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
