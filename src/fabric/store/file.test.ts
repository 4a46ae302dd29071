import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { NetError } from "../../errors.ts";
import { lockFile } from "../../sys/flock.ts";
import { descriptorCensus } from "../../testing/census.ts";
import { fileStoreChild } from "../../testing/file-store-child.ts";
import { type KvSite, kvContract, Seen } from "../../testing/kv-contract.ts";
import { lineLog } from "../../testing/line-log.ts";
import { patience } from "../../testing/slowdown.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { openFileStore } from "./file.ts";
import type { Kv } from "./kv.ts";

const CHANGES = 100;

async function site(): Promise<KvSite> {
  const temp = tempDir("store");
  const dir = temp.in("store");
  const open = (): Kv => openFileStore({ dir, changes: CHANGES });
  return {
    open,
    compact: async () => {
      const kv = open();
      for (let n = 0; n < 2 * CHANGES; n++) await kv.put("/elsewhere", String(n));
      kv.close();
    },
    stop: async () => renameSync(dir, temp.in("away")),
    start: async () => renameSync(temp.in("away"), dir),
    [Symbol.asyncDispose]: async () => temp[Symbol.dispose](),
  };
}

kvContract("A directory", site);

const failure = async (work: Promise<unknown>): Promise<NetError> => {
  const e: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(e instanceof NetError)) throw new Error(`no such failure: ${String(e)}`);
  return e;
};

describe("a file store", () => {
  test("is made for its owner alone", async () => {
    using temp = tempDir("store");
    const kv = openFileStore({ dir: temp.in("a", "b") });
    await kv.put("k", "v");
    const modes = ["a", "a/b", "a/b/store", "a/b/lock"].map((path) => statSync(temp.in(path)).mode & 0o777);
    expect(modes).toEqual([0o700, 0o700, 0o600, 0o600]);
    kv.close();
  });

  test("is not believed where others can write", async () => {
    using temp = tempDir("store");
    mkdirSync(temp.in("open"));
    chmodSync(temp.in("open"), 0o777);
    const kv = openFileStore({ dir: temp.in("open") });
    expect((await failure(kv.put("k", "v"))).code).toBe("env/invalid");
    writeFileSync(temp.in("open", "store"), "");
    expect((await failure(kv.get("k"))).code).toBe("env/invalid");
    kv.close();
  });

  test("cut anywhere in its last line has everything before, and takes the next write", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const file = join(dir, "store");
    const kv = openFileStore({ dir });
    await kv.put("a", "1");
    const whole = statSync(file).size;
    await kv.put("b", "x");
    kv.close();
    const bytes = readFileSync(file);
    for (let cut = whole; cut < bytes.length; cut++) {
      writeFileSync(file, bytes.subarray(0, cut));
      const again = openFileStore({ dir });
      expect([(await again.get("a"))?.value, await again.get("b")]).toEqual(["1", undefined]);
      await again.put("c", String(cut));
      again.close();
      const last = openFileStore({ dir });
      expect((await last.list("")).entries.map(({ value }) => value)).toEqual(["1", String(cut)]);
      last.close();
    }
  });

  test("with a damaged byte says so, unless that could be the end of a line that was cut short", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const file = join(dir, "store");
    const kv = openFileStore({ dir });
    for (const key of ["a", "b", "c", "d"]) await kv.put(key, "");
    kv.close();
    const bytes = readFileSync(file);
    const endOfC = bytes.lastIndexOf(0x0a, -2);
    for (let at = 0; at < bytes.length; at++) {
      const bad = Uint8Array.from(bytes);
      bad[at] = (bad[at] ?? 0) ^ 0x15;
      writeFileSync(file, bad);
      const again = openFileStore({ dir });
      const expected = at > endOfC ? ["a", "b", "c", "e"] : ["a", "b", "e"];
      if (at < endOfC)
        expect([at, (await failure(again.put("e", ""))).code]).toEqual([at, "store/unavailable"]);
      else {
        await again.put("e", "");
        expect((await again.list("")).entries.map(({ key }) => key)).toEqual(expected);
      }
      again.close();
    }
  });

  test("ends a lease by the clock although nobody lived to see it", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const kv = openFileStore({ dir });
    const lease = await kv.grant(10);
    await kv.put("a", "", { lease });
    await kv.put("b", "");
    kv.close();
    const late = openFileStore({ dir, now: () => Date.now() + 10_001 });
    expect((await late.list("")).entries.map(({ key }) => key)).toEqual(["b"]);
    expect(await late.refresh(lease)).toBeUndefined();
    late.close();
  });

  test("stays small however often it is written, and forgets old changes alone", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const kv = openFileStore({ dir, changes: 10 });
    const { revision } = await kv.list("");
    const lease = await kv.grant(60);
    const sizes: number[] = [];
    for (let n = 0; n < 300; n++) {
      await kv.put("a", "x".repeat(3000));
      await kv.refresh(lease);
      sizes.push(statSync(join(dir, "store")).size);
    }
    expect(Math.max(...sizes)).toBeLessThan(400_000);
    await using late = new Seen(kv, "", revision);
    expect(await late.end()).toMatchObject({ code: "store/compacted" });
    await using seen = new Seen(kv, "", (await kv.list("")).revision - 10);
    expect(await seen.changes(10)).toHaveLength(10);
    kv.close();
  });

  test("that was made anew is another one to who watches", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const kv = openFileStore({ dir });
    await kv.put("a", "1");
    await using seen = new Seen(kv, "", 1);
    await seen.changes(1);
    rmSync(join(dir, "store"));
    expect((await failure(kv.get("a"))).message).toContain("store is gone");
    const other = openFileStore({ dir });
    for (const value of ["2", "3", "4"]) await other.put("a", value);
    expect(await seen.end()).toMatchObject({ code: "store/compacted" });
    expect((await kv.get("a"))?.value).toBe("4");
    kv.close();
    other.close();
  });

  test("whose lock somebody keeps can be read, and says so to who writes", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const kv = openFileStore({ dir, lockMs: 20 });
    await kv.put("a", "1");
    using _lock = lockFile(join(dir, "lock"), "exclusive");
    expect((await kv.get("a"))?.value).toBe("1");
    expect((await failure(kv.put("a", "2"))).message).toContain("has had its lock for 20 ms");
    kv.close();
  });

  test("that cannot grow says why, and goes on when it can", async () => {
    using temp = tempDir("store");
    const dir = temp.in("store");
    const kv = openFileStore({ dir });
    await kv.put("a", "1");
    renameSync(join(dir, "store"), temp.in("kept"));
    mkdirSync(join(dir, "store"));
    expect((await failure(kv.put("a", "2"))).code).toBe("store/unavailable");
    rmSync(join(dir, "store"), { recursive: true });
    renameSync(temp.in("kept"), join(dir, "store"));
    await kv.put("a", "3");
    truncateSync(join(dir, "store"), 0);
    expect((await failure(kv.get("a"))).message).toContain("is damaged");
    kv.close();
  });

  test("leaves no descriptor open", async () => {
    using temp = tempDir("store");
    const use = async (dir: string): Promise<void> => {
      const kv = openFileStore({ dir, changes: 2 });
      for (let n = 0; n < 20; n++) await kv.put("a", String(n));
      const seen = new Seen(kv, "", (await kv.list("")).revision - 1);
      await seen.changes(1);
      kv.close();
      await seen.end();
    };
    // The engine has one descriptor for all watches of files, which it opens with the first and keeps.
    await use(temp.in("warm"));
    using _census = descriptorCensus();
    await use(temp.in("store"));
  });
});

describe("processes that share a file store", () => {
  test(
    "are killed while they write, and nothing that was written is lost",
    async () => {
      using temp = tempDir("store");
      const dir = temp.in("store");
      const kv = openFileStore({ dir });
      const seen = new Seen(kv, "", 1);
      let counted = 0;
      for (let round = 0; round < 3; round++) {
        const writers = ["a", "b"].map((name) => {
          const argv = [process.execPath, fileStoreChild, dir, `${round}${name}`, "shared"];
          const started = Bun.spawn(argv, { stdin: "ignore", stdout: "pipe", env: {} });
          return { name, started, log: lineLog(started.stdout) };
        });
        await Promise.all(writers.map(({ log }) => log.line((line) => line === String(8 + round))));
        for (const { started } of writers) started.kill("SIGKILL");
        await Promise.all(writers.map(({ started }) => started.exited));
        for (const { name, log } of writers) {
          const said = log.lines().length;
          counted += said;
          const value = Number((await kv.get(`${round}${name}`))?.value);
          expect([said - 1, said]).toContain(value);
        }
        expect(Number((await kv.get("shared"))?.value) - counted).toBeWithin(0, 2 * round + 3);
      }
      await kv.put("end", "");
      const missed = await Promise.race([seen.end(), seen.said("end=").then(() => undefined)]);
      // Who keeps up sees every count once and in order; who fell behind is told so.
      if (missed === undefined) {
        const counts = seen.flat().flatMap((text) => /^shared=(\d+)$/.exec(text)?.[1] ?? []);
        expect(counts).toEqual(counts.map((_, i) => String(i + 1)));
      } else expect(missed).toMatchObject({ code: "store/compacted" });
      kv.close();
    },
    patience(30_000),
  );
});
