/** What every store keeps, whichever it is: run against a directory and against real etcd. */
import { afterAll, describe, expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { type Change, type Entry, type Kv, VALUE_LIMIT } from "../fabric/store/kv.ts";
import { codeOf } from "./failure.ts";
import { patience } from "./slowdown.ts";

/** A store under test. All tests of a suite share it, each below a prefix of its own. */
export interface KvSite extends AsyncDisposable {
  /** Another client, as another process would be. */
  open(): Kv;
  /** Makes the store forget its changes up to now. */
  compact(): Promise<void>;
  /** Takes the store away, as a host that is switched off. */
  stop(): Promise<void>;
  /** Brings it back with what it had. */
  start(): Promise<void>;
}

export function kvContract(name: string, start: () => Promise<KvSite>): void {
  let site: Promise<KvSite> | undefined;
  const opened = (): Promise<KvSite> => (site ??= start());
  const cases = {
    "reads and writes": readsAndWrites,
    conditions,
    leases,
    watches,
    "a store that goes away": absence,
  };
  describe(`${name} keeps the contract of a store:`, () => {
    for (const [what, tests] of Object.entries(cases)) describe(what, () => tests(opened));
    // Tests come in any order, so that the end of the store is none of them.
    afterAll(async () => {
      await (await site)?.[Symbol.asyncDispose]();
    });
  });
}

type Site = () => Promise<KvSite>;
let prefixes = 0;
const freshPrefix = (): string => `/contract/${++prefixes}/`;

/** A client that is closed at the end of the block, and a prefix of its own. */
async function client(site: Site): Promise<{ readonly kv: Kv; readonly at: string } & Disposable> {
  const kv = (await site()).open();
  return { kv, at: freshPrefix(), [Symbol.dispose]: () => kv.close() };
}

/** Everything that a watch tells, as it comes. */
export class Seen implements AsyncDisposable {
  readonly batches: (readonly Change[])[] = [];
  private readonly stop = new AbortController();
  private changed = Promise.withResolvers<void>();
  private readonly ended: Promise<unknown>;

  constructor(kv: Kv, prefix: string, after: number) {
    this.ended = this.follow(kv, prefix, after);
  }

  /** The changes as short words, once there are so many. */
  async changes(count: number): Promise<readonly string[]> {
    while (this.flat().length < count) {
      const { promise } = this.changed;
      const outcome = await Promise.race([promise.then(() => "more"), this.ended.then(() => "ended")]);
      if (outcome === "ended") throw new Error(`the watch ended after ${this.flat().join(", ")}`);
    }
    return this.flat();
  }

  /** Waits until a change is told, in the words of `changes`. */
  async said(text: string): Promise<void> {
    for (let count = 1; !(await this.changes(count)).includes(text);) count = this.flat().length + 1;
  }

  flat(): readonly string[] {
    return this.batches
      .flat()
      .map((c) => (c.kind === "put" ? `${c.entry.key}=${c.entry.value}` : `-${c.key}`));
  }

  /** The error that the watch ended with; undefined if it ended as it should. */
  end(): Promise<unknown> {
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort();
    await this.ended;
  }

  private async follow(kv: Kv, prefix: string, after: number): Promise<unknown> {
    try {
      for await (const batch of kv.watch(prefix, { after, signal: this.stop.signal })) {
        if (batch.length > 0) this.batches.push(batch);
        this.changed.resolve();
        this.changed = Promise.withResolvers();
      }
      return undefined;
    } catch (e) {
      return e;
    }
  }
}

function readsAndWrites(site: Site): void {
  test("a key that nobody wrote is not there", async () => {
    using c = await client(site);
    expect(await c.kv.get(`${c.at}a`)).toBeUndefined();
    expect(await c.kv.delete(`${c.at}a`)).toBe(false);
    expect((await c.kv.list(c.at)).entries).toEqual([]);
  });

  test("what one client wrote another reads, with the revision of the write", async () => {
    using c = await client(site);
    using other = await client(site);
    const first = (await c.kv.put(`${c.at}a`, "1")) ?? 0;
    const second = (await other.kv.put(`${c.at}a`, "2")) ?? 0;
    expect(second).toBeGreaterThan(first);
    expect(await c.kv.get(`${c.at}a`)).toEqual({ key: `${c.at}a`, value: "2", revision: second });
  });

  test("a list has the keys below the prefix alone, sorted by bytes, and the revision of the moment", async () => {
    using c = await client(site);
    const names = ["b", "a/x", "a", "é", "~", "😀", "\u{fffd}"];
    for (const name of names) await c.kv.put(`${c.at}${name}`, name);
    await c.kv.put(`${c.at.slice(0, -1)}0`, "behind the prefix");
    const { entries, revision } = await c.kv.list(c.at);
    expect(entries.map(({ value }) => value)).toEqual(["a", "a/x", "b", "~", "é", "\u{fffd}", "😀"]);
    expect(revision).toBeGreaterThanOrEqual(Math.max(...entries.map((e) => e.revision)));
  });

  test("any text comes back as it was", async () => {
    using c = await client(site);
    const texts = ["", "\0", "a\r\nb\n", '{"a":"\\u0000"}', "ä€😀", "x".repeat(VALUE_LIMIT)];
    for (const [i, value] of texts.entries()) {
      await c.kv.put(`${c.at}${i}\n"`, value);
      expect((await c.kv.get(`${c.at}${i}\n"`))?.value === value).toBe(true);
    }
  });

  test("what is too large, and an empty key, are refused and not written", async () => {
    using c = await client(site);
    expect(await codeOf(c.kv.put(`${c.at}a`, "x".repeat(VALUE_LIMIT + 1)))).toBe("store/denied");
    expect(await codeOf(c.kv.put(`${c.at}${"a".repeat(5000)}`, ""))).toBe("store/denied");
    expect(await codeOf(c.kv.put("", "a"))).toBe("store/denied");
    expect((await c.kv.list(c.at)).entries).toEqual([]);
  });

  test("a deleted key is gone, and deleting it says so once", async () => {
    using c = await client(site);
    await c.kv.put(`${c.at}a`, "1");
    expect([await c.kv.delete(`${c.at}a`), await c.kv.delete(`${c.at}a`)]).toEqual([true, false]);
    expect(await c.kv.get(`${c.at}a`)).toBeUndefined();
  });

  test("a client that was closed says so", async () => {
    using c = await client(site);
    c.kv.close();
    c.kv.close();
    expect(await codeOf(c.kv.get(`${c.at}a`))).toBe("store/unavailable");
    expect(await codeOf(c.kv.put(`${c.at}a`, ""))).toBe("store/unavailable");
  });
}

function conditions(site: Site): void {
  test("a key is made once", async () => {
    using c = await client(site);
    const absent = { when: { absent: true } } as const;
    expect(await c.kv.put(`${c.at}a`, "1", absent)).toBeNumber();
    expect(await c.kv.put(`${c.at}a`, "2", absent)).toBeUndefined();
    expect((await c.kv.get(`${c.at}a`))?.value).toBe("1");
    await c.kv.delete(`${c.at}a`);
    expect(await c.kv.put(`${c.at}a`, "3", absent)).toBeNumber();
  });

  test("a key is changed, and deleted, only if it is as it was", async () => {
    using c = await client(site);
    const revision = (await c.kv.put(`${c.at}a`, "1")) ?? 0;
    const next = await c.kv.put(`${c.at}a`, "2", { when: { revision } });
    expect(next).toBeGreaterThan(revision);
    expect(await c.kv.put(`${c.at}a`, "3", { when: { revision } })).toBeUndefined();
    expect(await c.kv.put(`${c.at}b`, "3", { when: { revision } })).toBeUndefined();
    expect(await c.kv.delete(`${c.at}a`, { revision })).toBe(false);
    expect(await c.kv.delete(`${c.at}a`, { revision: next ?? 0 })).toBe(true);
  });

  test("of many that make one key at once, one wins", async () => {
    using c = await client(site);
    const clients = await Promise.all(Array.from({ length: 8 }, () => client(site)));
    for (let round = 0; round < 4; round++) {
      const key = `${c.at}${round}`;
      const tries = clients.map(({ kv }, i) => kv.put(key, String(i), { when: { absent: true } }));
      const outcomes = await Promise.all(tries);
      const winners = outcomes.flatMap((revision, i) => (revision === undefined ? [] : [i]));
      expect(winners).toHaveLength(1);
      expect((await c.kv.get(key))?.value).toBe(String(winners[0]));
    }
    for (const one of clients) one[Symbol.dispose]();
  });

  test("of many that count in one key, none loses a step", async () => {
    using c = await client(site);
    const key = `${c.at}count`;
    await c.kv.put(key, "0");
    const countUp = async (): Promise<void> => {
      using own = await client(site);
      for (let steps = 0; steps < 5;) {
        const entry: Entry | undefined = await own.kv.get(key);
        if (entry === undefined) throw new Error("the key is gone");
        const next = String(Number(entry.value) + 1);
        if ((await own.kv.put(key, next, { when: { revision: entry.revision } })) !== undefined) steps++;
      }
    };
    await Promise.all(Array.from({ length: 4 }, countUp));
    expect((await c.kv.get(key))?.value).toBe("20");
  });
}

function leases(site: Site): void {
  test(
    "a lease ends with all of its keys, at once; others stay",
    async () => {
      using c = await client(site);
      const { revision } = await c.kv.list(c.at);
      await using seen = new Seen(c.kv, c.at, revision);
      const lease = await c.kv.grant(1);
      await c.kv.put(`${c.at}a`, "", { lease });
      await c.kv.put(`${c.at}b`, "", { lease });
      await c.kv.put(`${c.at}c`, "", { lease });
      await c.kv.put(`${c.at}c`, ""); // without the lease it stays
      expect((await c.kv.get(`${c.at}a`))?.lease).toBe(lease);
      await seen.changes(6);
      expect(seen.batches.at(-1)?.map((change) => change.kind === "delete" && change.key)).toEqual([
        `${c.at}a`,
        `${c.at}b`,
      ]);
      expect((await c.kv.list(c.at)).entries.map(({ key }) => key)).toEqual([`${c.at}c`]);
      expect(await c.kv.timeToLive(lease)).toBeUndefined();
      expect(await c.kv.refresh(lease)).toBeUndefined();
      expect(await codeOf(c.kv.put(`${c.at}d`, "", { lease }))).toBe("try-again");
    },
    patience(15_000),
  );

  test("a lease that is refreshed begins anew", async () => {
    using c = await client(site);
    const lease = await c.kv.grant(60);
    expect(await c.kv.timeToLive(lease)).toBeWithin(55, 61);
    expect(await c.kv.refresh(lease)).toBe(60);
    await c.kv.revoke(lease);
  });

  test("a lease that no key has can be ended alone, and one that has keys is left as it is", async () => {
    using c = await client(site);
    const [used, unused, left] = [await c.kv.grant(60), await c.kv.grant(60), await c.kv.grant(60)];
    await c.kv.put(`${c.at}a`, "", { lease: used });
    await c.kv.put(`${c.at}b`, "", { lease: left });
    await c.kv.put(`${c.at}b`, "", { lease: used });
    expect(await Promise.all([used, unused, left].map((lease) => c.kv.revokeUnused(lease)))).toEqual([
      false,
      true,
      true,
    ]);
    expect(await c.kv.timeToLive(used)).toBeWithin(55, 61);
    expect([await c.kv.timeToLive(unused), await c.kv.timeToLive(left)]).toEqual([undefined, undefined]);
    expect(await c.kv.revokeUnused(left)).toBe(true);
    expect((await c.kv.get(`${c.at}b`))?.lease).toBe(used);
  });

  test("a lease that is revoked takes its keys along; revoking it again is no error", async () => {
    using c = await client(site);
    const lease = await c.kv.grant(60);
    await c.kv.put(`${c.at}a`, "", { lease });
    await c.kv.revoke(lease);
    await c.kv.revoke(lease);
    expect(await c.kv.get(`${c.at}a`)).toBeUndefined();
    expect(await c.kv.timeToLive(lease)).toBeUndefined();
  });
}

function watches(site: Site): void {
  test("a watch tells what came after the revision, in order, each once", async () => {
    using c = await client(site);
    await c.kv.put(`${c.at}a`, "before");
    const { revision } = await c.kv.list(c.at);
    await c.kv.put(`${c.at}a`, "1");
    await using seen = new Seen(c.kv, c.at, revision);
    await seen.changes(1);
    await c.kv.put(`${c.at}b`, "2");
    await c.kv.put(freshPrefix(), "elsewhere");
    await c.kv.delete(`${c.at}a`);
    expect(await seen.changes(3)).toEqual([`${c.at}a=1`, `${c.at}b=2`, `-${c.at}a`]);
    const revisions = seen.batches.flat().map((x) => (x.kind === "put" ? x.entry.revision : x.revision));
    expect(revisions).toEqual([...new Set(revisions)].toSorted((a, b) => a - b));
  });

  test("what other clients write under load all watches see alike", async () => {
    using c = await client(site);
    const { revision } = await c.kv.list(c.at);
    await using one = new Seen(c.kv, c.at, revision);
    using other = await client(site);
    await using two = new Seen(other.kv, c.at, revision);
    const write = async (who: number): Promise<void> => {
      using own = await client(site);
      for (let n = 0; n < 10; n++) await own.kv.put(`${c.at}${who}`, String(n));
    };
    await Promise.all([0, 1, 2, 3].map(write));
    const all = await one.changes(40);
    expect(await two.changes(40)).toEqual(all);
    for (const who of [0, 1, 2, 3])
      expect(all.filter((text) => text.startsWith(`${c.at}${who}=`))).toEqual(
        Array.from({ length: 10 }, (_, n) => `${c.at}${who}=${n}`),
      );
  });

  test("a watch ends with the signal, and with its client", async () => {
    using c = await client(site);
    const { revision } = await c.kv.list(c.at);
    const seen = new Seen(c.kv, c.at, revision);
    await c.kv.put(`${c.at}a`, "");
    await seen.changes(1);
    await seen[Symbol.asyncDispose]();
    expect(await seen.end()).toBeUndefined();
    const again = new Seen(c.kv, c.at, revision);
    await again.changes(1);
    c.kv.close();
    expect(await again.end()).toBeUndefined();
  });

  test("a watch from a revision that the store forgot says so, and a new list helps", async () => {
    using c = await client(site);
    const { revision } = await c.kv.list(c.at);
    await c.kv.put(`${c.at}a`, "1");
    await (await site()).compact();
    const late = new Seen(c.kv, c.at, revision);
    const e = await late.end();
    expect(isNetError(e, "store/compacted")).toBe(true);
    await using seen = new Seen(c.kv, c.at, (await c.kv.list(c.at)).revision);
    await c.kv.put(`${c.at}a`, "2");
    expect(await seen.changes(1)).toEqual([`${c.at}a=2`]);
  });
}

function absence(site: Site): void {
  test(
    "calls fail while the store is away, and a watch goes on without a gap when it is back",
    async () => {
      using c = await client(site);
      const { revision } = await c.kv.list(c.at);
      await using seen = new Seen(c.kv, c.at, revision);
      await c.kv.put(`${c.at}a`, "1");
      await seen.changes(1);
      await (await site()).stop();
      expect(await codeOf(c.kv.get(`${c.at}a`))).toBe("store/unavailable");
      expect(await codeOf(c.kv.put(`${c.at}a`, "lost"))).toBe("store/unavailable");
      await (await site()).start();
      await c.kv.put(`${c.at}b`, "2");
      expect(await seen.changes(2)).toEqual([`${c.at}a=1`, `${c.at}b=2`]);
      expect((await c.kv.get(`${c.at}a`))?.value).toBe("1");
    },
    patience(30_000),
  );
}
