/** A cluster of three real members of etcd, of which some die, stop without a word, and come back. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../../src/errors.ts";
import { openEtcd } from "../../src/fabric/store/etcd.ts";
import { type EtcdCluster, etcdTree, startEtcd } from "../../src/testing/etcd.ts";
import { insideNetns } from "../../src/testing/inside-netns.ts";
import { Seen } from "../../src/testing/kv-contract.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

insideNetns(
  import.meta.path,
  {
    title: "a cluster of three in a namespace serves whatever happens to one member",
    prepare: async () => (await etcdTree()) !== undefined,
    timeoutMs: 90_000,
  },
  () => describe("a cluster of three", tests),
);

async function threeMembers(): Promise<EtcdCluster> {
  const temp = tempDir("etcd");
  const cluster = await startEtcd({ root: (await etcdTree()) ?? "", dir: temp.path, port: 2379, members: 3 });
  return {
    ...cluster,
    [Symbol.asyncDispose]: async () => {
      await cluster[Symbol.asyncDispose]();
      temp[Symbol.dispose]();
    },
  };
}

function tests(): void {
  test(
    "loses nothing when one member after the other dies under load and comes back",
    async () => {
      await using cluster = await threeMembers();
      const kv = openEtcd({ endpoints: cluster.urls, requestMs: 2000 });
      const { revision } = await kv.list("/p/");
      await using seen = new Seen(kv, "/p/", revision);
      let isOver = false;
      const written: string[] = [];
      const writing = (async () => {
        for (let n = 0; !isOver; n++) {
          try {
            await kv.put(`/p/${n}`, "");
            written.push(`/p/${n}=`);
          } catch (e) {
            // Sent and not answered: whether it is done is not known, and the next one goes on.
            if (!(e instanceof NetError) || !e.is("store/unavailable")) throw e;
          }
        }
      })();
      for (const member of cluster.members) {
        const before = written.length;
        await member.kill();
        while (written.length < before + 20) await Bun.sleep(20);
        await member.start();
      }
      isOver = true;
      await writing;
      const { entries } = await kv.list("/p/");
      const told = await seen.changes(entries.length);
      expect(new Set(told).size).toBe(told.length);
      expect(told.toSorted()).toEqual(entries.map(({ key }) => `${key}=`).toSorted());
      expect(written.filter((text) => !told.includes(text))).toEqual([]);
      kv.close();
    },
    patience(40_000),
  );

  test(
    "without a majority serves nobody, keeps what it had, and goes on with it",
    async () => {
      await using cluster = await threeMembers();
      const kv = openEtcd({ endpoints: cluster.urls, requestMs: 1000 });
      await kv.put("/p/a", "1");
      const { revision } = await kv.list("/p/");
      await using seen = new Seen(kv, "/p/", revision);
      const [, second, third] = cluster.members;
      await Promise.all([second?.kill(), third?.kill()]);
      for (const work of [() => kv.get("/p/a"), () => kv.put("/p/a", "lost"), () => kv.list("/p/")])
        expect(await work().catch((e: unknown) => e)).toMatchObject({ code: "store/unavailable" });
      await Promise.all([second?.start(), third?.start()]);
      await until(async () => (await kv.put("/p/b", "2")) !== undefined);
      expect((await seen.changes(1)).filter((text) => text !== "/p/a=lost")).toContain("/p/b=2");
      kv.close();
    },
    patience(40_000),
  );

  test(
    "is followed further when the member that was followed stops without a word",
    async () => {
      await using cluster = await threeMembers();
      for (const [index, member] of cluster.members.entries()) {
        const others = cluster.urls.filter((_, i) => i !== index);
        const watcher = openEtcd({ endpoints: [member.url], requestMs: 500, quietMs: 200 });
        const both = openEtcd({ endpoints: cluster.urls, requestMs: 500, quietMs: 200 });
        const writer = openEtcd({ endpoints: others, requestMs: 2000 });
        const { revision } = await both.list("/p/");
        await using seen = new Seen(both, "/p/", revision);
        await using lone = new Seen(watcher, "/p/", revision);
        await until(async () => (await writer.put("/p/a", `${index} before`)) !== undefined);
        await Promise.all([seen.changes(1), lone.changes(1)]);
        member.pause();
        await until(async () => (await writer.put("/p/a", `${index} after`)) !== undefined);
        await seen.changes(2);
        member.resume();
        const told = await lone.changes(2);
        expect([...new Set(told)]).toEqual([`/p/a=${index} before`, `/p/a=${index} after`]);
        for (const kv of [watcher, both, writer]) kv.close();
      }
    },
    patience(40_000),
  );
}

/** Tries until it succeeds: a cluster that elects a leader serves nobody for a moment. */
async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done().catch(() => false))) await Bun.sleep(50);
}
