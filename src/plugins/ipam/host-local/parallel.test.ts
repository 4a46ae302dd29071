import { expect, test } from "bun:test";
import { join } from "node:path";
import { makeDataDir } from "../../../testing/ipam.ts";

/** Takes and gives back addresses as fast as it can; keeps every third. */
const worker = (dataDir: string, name: string): string => `
import { verbs, key } from ${JSON.stringify(join(import.meta.dir, "../../../testing/ipam.ts"))};
import { hostLocal } from ${JSON.stringify(join(import.meta.dir, "plugin.ts"))};
const v = verbs(hostLocal, { type: "host-local", dataDir: ${JSON.stringify(dataDir)}, subnet: "10.1.0.0/24" });
for (let i = 0; i < 30; i++) {
  await v.add(key("${name}-" + i));
  if (i % 3 !== 0) await v.del(key("${name}-" + i));
}`;

test("20 processes share one range without a duplicate", async () => {
  using data = makeDataDir();
  const names = Array.from({ length: 20 }, (_, i) => `p${i}`);
  const running = names.map((name) =>
    Bun.spawn([process.execPath, "-e", worker(data.path, name)], { stdout: "ignore", stderr: "inherit" }),
  );
  expect(await Promise.all(running.map((p) => p.exited))).toEqual(names.map(() => 0));
  const kept = names.flatMap((n) => Array.from({ length: 10 }, (_, i) => `${n}-${i * 3}\r\neth0`));
  // One file an owner: a duplicate would have taken another owner's file away.
  expect(Object.values(data.reservations()).toSorted()).toEqual(kept.toSorted());
}, 30_000);
